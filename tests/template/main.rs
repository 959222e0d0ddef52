//! `template.yaml` gives the function what it uses and nothing else, its alarms are raised when they should be, and the
//! numbers in the documents are its numbers.

mod alarm;
mod alarms;
mod cost;
mod documents;
mod function;
mod metric_math;
mod metrics;
mod template;
