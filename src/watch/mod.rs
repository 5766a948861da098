//! What an operator sees: the history of all runs, the status of all jobs, and whatever is drawn from them.

pub mod doctor;
pub mod history;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod page;
pub mod status;
