//! `template.yaml` gives the function what it uses and no more, its alarms are raised when they should be, and the
//! documents' numbers follow from it.

mod alarm;
mod alarms;
mod cost;
mod documents;
mod function;
mod metric_math;
mod metrics;
mod template;
