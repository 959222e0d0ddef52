//! The request: API Gateway's event and the JSON body in it, parsed into types that need no further check.

mod body;
mod event;
pub mod json;

pub use body::{ListedDepartment, Update, Visibility};
pub use event::{ApiRequest, Body};
