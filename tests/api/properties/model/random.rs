//! Random steps. proptest shrinks a failing sequence to fewer and simpler steps.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::steps::{Broken, Caller, Expiry, Id, Name, Step};

/// The last unit, the last department and the last user do not exist at first.
const UNITS: [Id; 4] = [Id("U0"), Id("U1"), Id("U2"), Id("U3")];

const DEPARTMENTS: [Id; 6] = [Id("D0"), Id("D1"), Id("D2"), Id("D3"), Id("D4"), Id("D5")];

const USERS: [Id; 8] =
    [Id("Admin"), Id("Manager"), Id("Lead"), Id("M0"), Id("M1"), Id("M2"), Id("Agent"), Id("Ghost")];

const ROLES: [Id; 5] =
    [Id("admin"), Id("livechat-manager"), Id("livechat-monitor"), Id("unit-editor"), Id("livechat-agent")];

/// Any sequence of steps. Every step can follow every other step, so a failing sequence shrinks to any part of it.
pub fn sequences() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![7 => request(), 1 => Just(Step::NewEnvironment), 6 => change_by_another_program()], 1..16)
}

fn request() -> impl Strategy<Value = Step> {
    let own = |user: Id| Caller { user, token: user };
    let caller = prop_oneof![
        18 => allowed_caller(),
        1 => select(&USERS[..]).prop_map(own),
        1 => (select(&USERS[..]), select(&USERS[..])).prop_map(|(user, token)| Caller { user, token }),
    ];
    let broken =
        select(&[Broken::NotJson, Broken::NoUnitData, Broken::NoMonitors, Broken::DepartmentsWithoutIds][..]);
    let unit = || prop_oneof![8 => select(&UNITS[..3]), 1 => Just(UNITS[3])];
    let caller = caller.boxed();
    prop_oneof![
        15 => update(caller.clone(), unit(), prop_oneof![30 => existing_department(), 1 => Just(DEPARTMENTS[5])]),
        1 => (caller, unit(), broken).prop_map(|(by, unit, body)| Step::SendBroken { by, unit, body }),
    ]
}

/// Updates by permitted callers, of units and departments that exist at first.
pub fn updates() -> impl Strategy<Value = Step> {
    update(allowed_caller(), select(&UNITS[..3]), existing_department())
}

/// Changes after which a unit and its departments disagree.
pub fn disagreements() -> impl Strategy<Value = Step> {
    let unit = || select(&UNITS[..3]);
    prop_oneof![
        (unit(), existing_department()).prop_map(|(unit, department)| Step::List { unit, department }),
        (unit(), existing_department()).prop_map(|(unit, department)| Step::Unlist { unit, department }),
        (existing_department(), option::of(unit()))
            .prop_map(|(department, parent)| Step::SetDepartmentParent { department, parent }),
    ]
}

fn allowed_caller() -> impl Strategy<Value = Caller> {
    let user = prop_oneof![10 => Just(USERS[0]), 3 => Just(USERS[1]), 5 => Just(USERS[2])];
    user.prop_map(|user| Caller { user, token: user })
}

fn existing_department() -> impl Strategy<Value = Id> {
    select(&DEPARTMENTS[..5])
}

fn update(
    by: impl Strategy<Value = Caller>,
    unit: impl Strategy<Value = Id>,
    department: impl Strategy<Value = Id>,
) -> impl Strategy<Value = Step> {
    let name = select(&[Name::N0, Name::N1][..]);
    (by, unit, name, vec(select(&USERS[..]), 0..5), vec(department, 0..5)).prop_map(
        |(by, unit, name, monitors, departments)| Step::Update { by, unit, name, monitors, departments },
    )
}

fn change_by_another_program() -> impl Strategy<Value = Step> {
    let unit = || select(&UNITS[..]);
    let department = || select(&DEPARTMENTS[..]);
    let user = || select(&USERS[..]);
    let roles = || vec(select(&ROLES[..]), 0..4);
    let expiry = select(&[Expiry::AnHourAgo, Expiry::InAnHour][..]);
    let ancestors = vec(select(&["Top", "Middle"][..]), 0..3);
    prop_oneof![
        1 => unit().prop_map(Step::DeleteUnit),
        2 => unit().prop_map(Step::PutUnit),
        1 => (unit(), ancestors).prop_map(|(unit, ancestors)| Step::SetUnitAncestors { unit, ancestors }),
        1 => (unit(), department()).prop_map(|(unit, department)| Step::List { unit, department }),
        1 => (unit(), department()).prop_map(|(unit, department)| Step::Unlist { unit, department }),
        1 => (unit(), user()).prop_map(|(unit, monitor)| Step::DeleteMonitorItem { unit, monitor }),
        1 => department().prop_map(Step::DeleteDepartment),
        3 => (department(), option::of(unit())).prop_map(|(department, parent)| {
            Step::SetDepartmentParent { department, parent }
        }),
        1 => user().prop_map(Step::DeleteUser),
        4 => (user(), roles(), option::of(any::<bool>()))
            .prop_map(|(user, roles, active)| Step::PutUser { user, roles, active }),
        2 => (user(), any::<bool>()).prop_map(|(user, active)| Step::SetActive { user, active }),
        2 => (user(), select(&["new.name", "älter"][..]))
            .prop_map(|(user, username)| Step::Rename { user, username }),
        1 => user().prop_map(Step::RemoveUsername),
        1 => user().prop_map(Step::DeleteToken),
        3 => (select(&USERS[..3]), option::of(expiry.clone()))
            .prop_map(|(of, expires)| Step::PutToken { of, user: of, expires }),
        1 => (user(), user(), option::of(expiry))
            .prop_map(|(of, user, expires)| Step::PutToken { of, user, expires }),
        1 => Just(Step::DeletePermission),
        2 => roles().prop_map(|roles| Step::PutPermission { roles }),
    ]
}
