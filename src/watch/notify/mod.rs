//! Somebody is told: through channels, of what each of them wants to hear.

pub mod channel;
mod digest;
mod mail;
mod news;
mod queue;
mod send;
mod template;
mod worker;

pub use channel::Channel;
pub use news::{ALL, News, Notice, USUAL};
pub use send::send;
pub use worker::{Notifier, Teller};
