//! What Rocket.Chat writes of users, their tokens, permissions and settings.

use mongodb::bson::{Bson, DateTime, doc};

use super::{MAX_LOGIN_TOKENS, RocketChat, insert};

impl RocketChat {
    /// `insertUserDoc`, then `addUserRoles`.
    pub async fn create_user(&self, id: &str, username: &str, roles: &[&str]) {
        let now = self.now();
        let user = doc! {
            "_id": id,
            "createdAt": now,
            "services": { "password": { "bcrypt": "x" }, "email2fa": { "enabled": true } },
            "username": username,
            "emails": [{ "address": format!("{username}@example.com"), "verified": true }],
            "type": "user",
            "status": "offline",
            "active": true,
            "roles": [],
            "_updatedAt": now,
            "name": username,
        };
        insert(&self.users(), user).await;
        self.wait().await;
        if !roles.is_empty() {
            self.add_roles(id, roles).await;
        }
    }

    /// `Users.addRolesByUserId`
    pub async fn add_roles(&self, id: &str, roles: &[&str]) {
        let roles = doc! { "$addToSet": { "roles": { "$each": roles.to_vec() } } };
        self.update_one(&self.users(), doc! { "_id": id }, roles).await;
    }

    /// `Users.removeRolesByUserId`
    pub async fn remove_roles(&self, id: &str, roles: &[&str]) {
        self.update_one(&self.users(), doc! { "_id": id }, doc! { "$pullAll": { "roles": roles.to_vec() } })
            .await;
    }

    /// `Users.setUsername`
    pub async fn rename_user(&self, id: &str, username: &str) {
        self.update_one(&self.users(), doc! { "_id": id }, doc! { "$set": { "username": username } }).await;
    }

    /// `setUserActiveStatus`: a user who is deactivated is logged out with the second write.
    pub async fn set_active(&self, id: &str, active: bool) {
        self.update_one(&self.users(), doc! { "_id": id }, doc! { "$set": { "active": active } }).await;
        if !active {
            self.log_out_everywhere(id).await;
        }
    }

    /// `deleteUser`: the rows of a monitor, then the copy in the trash, then the user.
    pub async fn delete_user(&self, id: &str) {
        self.delete_rows(doc! { "monitorId": id }).await;
        self.wait().await;
        self.delete_with_trash(&self.users(), "users", id).await;
    }

    /// A login: `_insertHashedLoginToken` of Meteor, `Users.updateLastLoginById`, `ensureLoginTokensLimit`.
    pub async fn log_in(&self, id: &str, hash: &str) {
        self.log_in_at(id, hash, self.now()).await;
    }

    pub async fn log_in_at(&self, id: &str, hash: &str, when: DateTime) {
        let token = doc! { "when": when, "hashedToken": hash };
        self.update_raw(
            &self.users(),
            doc! { "_id": id },
            doc! { "$addToSet": { "services.resume.loginTokens": token } },
        )
        .await;
        let last_login = doc! { "$set": { "lastLogin": self.now() } };
        self.update_one(&self.users(), doc! { "_id": id }, last_login).await;
        self.trim_tokens(id).await;
    }

    /// `ensureLoginTokensLimit`: when a user has fifty logins, those that are older than the fiftieth newest go.
    async fn trim_tokens(&self, id: &str) {
        let user = self.users().find_one(doc! { "_id": id }).await.expect("it is read").expect("it is there");
        let tokens = user
            .get_document("services")
            .and_then(|services| services.get_document("resume"))
            .and_then(|resume| resume.get_array("loginTokens"))
            .cloned()
            .unwrap_or_default();
        let mut times: Vec<DateTime> = tokens
            .iter()
            .filter_map(Bson::as_document)
            .filter(|token| !token.get_str("type").is_ok_and(|kind| kind == "personalAccessToken"))
            .filter_map(|token| token.get_datetime("when").ok().copied())
            .collect();
        times.sort_unstable();
        times.reverse();
        if let Some(oldest) = times.get(MAX_LOGIN_TOKENS - 1) {
            let older = doc! { "when": { "$lt": *oldest } };
            let pull = doc! { "$pull": { "services.resume.loginTokens": older } };
            self.update_one(&self.users(), doc! { "_id": id }, pull).await;
        }
    }

    /// `Users.unsetOneLoginToken`. Meteor's `Accounts.destroyToken` has the same result, but pulls by an `$or`, which
    /// SecantusDB does not know.
    pub async fn log_out(&self, id: &str, hash: &str) {
        let pull = doc! { "$pull": { "services.resume.loginTokens": { "hashedToken": hash } } };
        self.update_raw(&self.users(), doc! { "_id": id }, pull).await;
    }

    /// `Users.removeNonPATLoginTokensExcept`
    pub async fn log_out_others(&self, id: &str, hash: &str) {
        let token = doc! { "when": { "$exists": true }, "hashedToken": { "$ne": hash } };
        let pull = doc! { "$pull": { "services.resume.loginTokens": token } };
        self.update_raw(&self.users(), doc! { "_id": id }, pull).await;
    }

    /// `Users.unsetLoginTokens`
    pub async fn log_out_everywhere(&self, id: &str) {
        let set = doc! { "$set": { "services.resume.loginTokens": [] } };
        self.update_raw(&self.users(), doc! { "_id": id }, set).await;
    }

    /// `Accounts._expireTokens` of Meteor, which runs every ten minutes
    pub async fn expire_tokens(&self, before: DateTime) {
        let old = doc! { "services.resume.loginTokens.when": { "$lt": before } };
        let pull = doc! { "$pull": { "services.resume.loginTokens": { "when": { "$lt": before } } } };
        self.users().update_many(old, pull).await.expect("they are updated");
        self.wait().await;
    }

    /// `Users.addPersonalAccessTokenToUser`
    pub async fn add_personal_token(&self, id: &str, hash: &str, name: &str) {
        let token = doc! {
            "hashedToken": hash,
            "type": "personalAccessToken",
            "createdAt": self.now(),
            "lastTokenPart": "abcdef",
            "name": name,
            "bypassTwoFactor": false,
        };
        let push = doc! { "$push": { "services.resume.loginTokens": token } };
        self.update_one(&self.users(), doc! { "_id": id }, push).await;
    }

    /// `Users.removePersonalAccessTokenOfUser`
    pub async fn remove_personal_token(&self, id: &str, name: &str) {
        let token = doc! { "name": name, "type": "personalAccessToken" };
        let pull = doc! { "$pull": { "services.resume.loginTokens": token } };
        self.update_one(&self.users(), doc! { "_id": id }, pull).await;
    }

    /// What does not matter to the sync: the presence of many users, in bulk writes. SecantusDB is slow with long lists of
    /// ids.
    pub async fn change_presence(&self, ids: &[String], status: &str) {
        for ids in ids.chunks(100) {
            let set = doc! {
                "$set": { "status": status, "statusConnection": status, "_updatedAt": self.now() },
            };
            self.users().update_many(doc! { "_id": { "$in": ids } }, set).await.expect("they are updated");
        }
    }

    /// `Permissions.createWithRoles`
    pub async fn create_permission(&self, id: &str, roles: &[&str]) {
        let set = doc! { "$set": { "roles": roles.to_vec(), "_updatedAt": self.now() } };
        self.permissions().update_one(doc! { "_id": id }, set).upsert(true).await.expect("it is written");
        self.wait().await;
    }

    /// `Permissions.addRole`
    pub async fn grant(&self, id: &str, role: &str) {
        let filter = doc! { "_id": id, "roles": { "$ne": role } };
        self.update_one(&self.permissions(), filter, doc! { "$addToSet": { "roles": role } }).await;
    }

    /// `Permissions.removeRole`
    pub async fn revoke(&self, id: &str, role: &str) {
        let filter = doc! { "_id": id, "roles": role };
        self.update_one(&self.permissions(), filter, doc! { "$pull": { "roles": role } }).await;
    }

    /// `Settings.updateValueById`
    pub async fn set_login_expiration(&self, days: i32) {
        let filter = doc! {
            "blocked": { "$ne": true }, "value": { "$ne": days }, "_id": "Accounts_LoginExpiration",
        };
        self.update_one(&self.settings(), filter, doc! { "$set": { "value": days } }).await;
    }
}
