//! The sample data of Rocket.Chat's documentation of the endpoint ("Update Unit", Rocket.Chat Developer).

use anyhow::Result;

use crate::database::Database;
use crate::import;

/// The user in the documentation, who may update units.
pub const USER: &str = "rbAXPnMktTFbNpwtJ";
/// The token of that user.
pub const TOKEN: &str = "RScctEHSmLGZGywfIhWyRpyofhKOiMoUIpimhvheU3f";
/// The unit in the documentation.
pub const UNIT: &str = "o5zNtKy7BcTMgyXtm";
/// The request body in the documentation.
pub const BODY: &str = concat!(
    r#"{"unitData":{"name":"unitxx2","visibility":"private"},"#,
    r#""unitMonitors":[{"monitorId":"GT67Tv6x5p5y5xZWN","username":"testerio"}],"#,
    r#""unitDepartments":[{"departmentId":"CgM4vfNNtj8t4QEMd"}]}"#
);

/// Imports the sample data from the mongoexport in `sample/`. It has the items that the documentation's request and the
/// sample events need, and the other items of a small workspace.
///
/// # Errors
/// DynamoDB refuses a request or can't be reached.
pub async fn put(database: &Database) -> Result<()> {
    import::sample(database).await
}
