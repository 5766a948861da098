//! What the tests share: real PostgreSQL servers, the program itself, comparisons.
#![allow(dead_code, unused_imports)] // no test or bench needs all of it

pub mod disk;
pub mod faulty;
pub mod faulty_s3;
pub mod pooler;
pub mod program;
pub mod receiver;
pub mod relay;
pub mod s3;
pub mod server;
pub mod terminal;

pub use disk::SmallDisk;
pub use pooler::Pooler;
pub use program::{Run, high_water, measured, processor_seconds, snapback};
pub use receiver::{Mails, Receiver};
pub use relay::Relay;
pub use server::{Server, VERSIONS, bin_dir, own_address};
pub use terminal::{Size, Terminal};
