//! (to come)

use super::emit::Emit;
use super::object::{DumpId, Object};
use super::{Catalog, Step};
use crate::error::Result;

/// A subscription.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_subscription
pub struct Subscription {
    /// Owner.
    pub owner: String,
    /// The connection string.
    pub subconninfo: String,
    /// The slot at the publisher.
    pub subslotname: Option<String>,
    /// `synchronous_commit`.
    pub subsynccommit: String,
    /// The publications.
    pub subpublications: Vec<String>,
    /// `binary`.
    pub subbinary: bool,
    /// `streaming`: `f` off, `t` on, `p` parallel (16).
    pub substream: char,
    /// `two_phase` (15): `d` disabled.
    pub subtwophasestate: char,
    /// `disable_on_error` (15).
    pub subdisableonerr: bool,
    /// `password_required` (16).
    pub subpasswordrequired: bool,
    /// `run_as_owner` (16).
    pub subrunasowner: bool,
    /// `origin` (16).
    pub suborigin: String,
    /// `failover` (17).
    pub subfailover: bool,
    /// Whether it runs; read for a binary upgrade only (17).
    pub subenabled: bool,
    /// How far it got; read for a binary upgrade only (17).
    pub remote_lsn: Option<String>,
}

/// A table of a subscription, which only a binary upgrade carries over (17).
#[derive(Debug, Default)]
pub struct SubscriptionRel {
    /// The subscription.
    pub subscription: DumpId,
    /// The table.
    pub table: DumpId,
    /// How far its first copy got.
    pub srsubstate: char,
    /// Up to where it was replicated.
    pub srsublsn: Option<String>,
}

/// (to come)
pub const READ: Step = Step {
    what: "subscription",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
pub const RELATIONS: Step = Step {
    what: "subscription",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &super::subscription::Subscription) -> Result<()> {
    Ok(())
}

/// (to come)
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_relation(_emit: &mut Emit, _object: &Object, _it: &super::subscription::SubscriptionRel) -> Result<()> {
    Ok(())
}
