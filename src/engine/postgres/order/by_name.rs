//! The order by type, schema and name, which is the order of a dump but for dependencies.
//!
//! What has the same type, schema and name is told apart by the rest of its catalog's natural key, so that
//! equal databases dump equal, whatever their OIDs are.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::engine::postgres::catalog::object::{DumpId, Object, Oid, class};
use crate::engine::postgres::catalog::{Catalog, Kind};
use crate::raw_text;

/// All objects by type and name.
pub fn sort(cat: &Catalog) -> Vec<DumpId> {
    let mut keyed: Vec<_> = cat.objects().map(|object| (Key::of(cat, object), object)).collect();
    keyed.sort_by(|(one_key, one), (other_key, other)| {
        one_key
            .cmp(other_key)
            .then_with(|| break_tie(cat, one, other))
            .then_with(|| one.catalog_id.oid.cmp(&other.catalog_id.oid))
    });
    keyed.into_iter().map(|(_, object)| object.dump_id).collect()
}

/// What comes first in the comparison. Names compare by their bytes in the database's encoding.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    priority: u32,
    /// Objects without a schema come after those with one.
    without_namespace: bool,
    namespace: Cow<'a, [u8]>,
    name: Cow<'a, [u8]>,
    /// Types that share a priority.
    kind: u32,
}

impl<'a> Key<'a> {
    fn of(cat: &'a Catalog, object: &'a Object) -> Self {
        let namespace = cat.namespace_name(object.namespace);
        Key {
            priority: priority(&object.kind, cat.server.major()),
            without_namespace: namespace.is_none(),
            namespace: raw_text::encode(namespace.unwrap_or_default()),
            name: raw_text::encode(&object.name),
            kind: u32::from(matches!(object.kind, Kind::ShellType(_) | Kind::OpFamily(_))),
        }
    }
}

/// The place of a type among the others.
///
/// Casts come before functions although they need some: the server says that a view which uses a cast depends on
/// the cast's function. Triggers must come after all changes of rows, event triggers after nearly all statements,
/// and refreshes of materialized views last, when everything is as it will be, rights included.
fn priority(kind: &Kind, major: u32) -> u32 {
    match kind {
        Kind::Namespace(_) => 1,
        Kind::Language(_) => 2,
        Kind::Collation(_) => 3,
        Kind::Transform(_) => 4,
        Kind::Extension(_) => 5,
        Kind::Type(_) | Kind::ShellType(_) => 6,
        Kind::Cast(_) => 7,
        Kind::Function(_) => 8,
        Kind::Aggregate(_) => 9,
        Kind::AccessMethod(_) => 10,
        Kind::Operator(_) => 11,
        Kind::OpFamily(_) | Kind::OpClass(_) => 12,
        Kind::Conversion(_) => 13,
        Kind::TsParser(_) => 14,
        Kind::TsTemplate(_) => 15,
        Kind::TsDictionary(_) => 16,
        Kind::TsConfiguration(_) => 17,
        Kind::ForeignDataWrapper(_) => 18,
        Kind::ForeignServer(_) => 19,
        Kind::Table(_) => 20,
        Kind::TableAttach(_) => 21,
        Kind::DummyType => 22,
        Kind::AttrDef(_) => 23,
        // Until 16 what is known of large objects went before the data, now it goes with it.
        Kind::LargeObject(_) if major < 17 => 24,
        Kind::PreDataBoundary => 25,
        Kind::TableData(_) => 26,
        Kind::SequenceSet(_) => 27,
        Kind::LargeObject(_) => 28,
        Kind::LargeObjectData => 29,
        Kind::RelationStats(_) => 30,
        Kind::PostDataBoundary => 31,
        Kind::Constraint(_) => 32,
        Kind::Index(_) => 33,
        Kind::IndexAttach(_) => 34,
        Kind::Statistics(_) => 35,
        Kind::Rule(_) => 36,
        Kind::Trigger(_) => 37,
        Kind::FkConstraint(_) => 38,
        Kind::Policy(_) => 39,
        Kind::Publication(_) => 40,
        Kind::PublicationRel(_) => 41,
        Kind::PublicationSchema(_) => 42,
        Kind::Subscription(_) => 43,
        Kind::SubscriptionRel(_) => 44,
        Kind::DefaultAcl(_) => 45,
        Kind::EventTrigger(_) => 46,
        Kind::RefreshMatView(_) => 47,
    }
}

/// Compares what is left of the natural keys of two objects of one type, schema and name.
fn break_tie(cat: &Catalog, one: &Object, other: &Object) -> Ordering {
    let by_name = |one: DumpId, other: DumpId| name_of(cat, one).cmp(&name_of(cat, other));
    match (&one.kind, &other.kind) {
        (Kind::Function(one), Kind::Function(other)) => by_argument_types(cat, &one.argtypes, &other.argtypes),
        (Kind::Aggregate(one), Kind::Aggregate(other)) => by_argument_types(cat, &one.argtypes, &other.argtypes),
        // Prefix operators come before infix ones.
        (Kind::Operator(one), Kind::Operator(other)) => other
            .oprkind
            .cmp(&one.oprkind)
            .then_with(|| by_type_name(cat, one.oprleft, other.oprleft))
            .then_with(|| by_type_name(cat, one.oprright, other.oprright)),
        (Kind::OpClass(one), Kind::OpClass(other)) => by_access_method(cat, one.opcmethod, other.opcmethod),
        (Kind::OpFamily(one), Kind::OpFamily(other)) => by_access_method(cat, one.opfmethod, other.opfmethod),
        (Kind::Collation(one), Kind::Collation(other)) => one.collencoding.cmp(&other.collencoding),
        (Kind::AttrDef(one), Kind::AttrDef(other)) => one.adnum.cmp(&other.adnum),
        (Kind::Policy(one), Kind::Policy(other)) => by_name(one.table, other.table),
        (Kind::Rule(one), Kind::Rule(other)) => by_name(one.table, other.table),
        (Kind::Trigger(one), Kind::Trigger(other)) => by_name(one.table, other.table),
        (Kind::Constraint(one) | Kind::FkConstraint(one), Kind::Constraint(other) | Kind::FkConstraint(other)) => {
            match (one.domain, other.domain) {
                (Some(one), Some(other)) => by_name(one, other),
                // Domains come before tables, and so do their constraints.
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => by_name(one.table.unwrap_or_default(), other.table.unwrap_or_default()),
            }
        }
        (Kind::DefaultAcl(one), Kind::DefaultAcl(other)) => {
            raw_text::encode(&one.defaclrole).cmp(&raw_text::encode(&other.defaclrole))
        }
        (Kind::PublicationRel(one), Kind::PublicationRel(other)) => by_name(one.publication, other.publication),
        (Kind::PublicationSchema(one), Kind::PublicationSchema(other)) => by_name(one.publication, other.publication),
        (Kind::SubscriptionRel(one), Kind::SubscriptionRel(other)) => by_name(one.subscription, other.subscription),
        _ => Ordering::Equal,
    }
}

/// Compares functions: those with fewer arguments first, then by the names of their types.
fn by_argument_types(cat: &Catalog, one: &[Oid], other: &[Oid]) -> Ordering {
    let types = one.iter().zip(other);
    one.len().cmp(&other.len()).then_with(|| {
        types
            .map(|(one, other)| by_type_name(cat, *one, *other))
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    })
}

/// Compares two types by schema and name; one that is not known counts as equal, so that what is next decides.
fn by_type_name(cat: &Catalog, one: Oid, other: Oid) -> Ordering {
    let (Some(one), Some(other)) = (cat.object(class::PG_TYPE, one), cat.object(class::PG_TYPE, other)) else {
        return Ordering::Equal;
    };
    let schema = |object: &Object| object.namespace.map(|id| name_of(cat, id));
    schema(one)
        .cmp(&schema(other))
        .then_with(|| raw_text::encode(&one.name).cmp(&raw_text::encode(&other.name)))
}

fn by_access_method(cat: &Catalog, one: Oid, other: Oid) -> Ordering {
    let name = |oid| {
        cat.object(class::PG_AM, oid)
            .map(|object| raw_text::encode(&object.name))
    };
    match (name(one), name(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => Ordering::Equal,
    }
}

fn name_of(cat: &Catalog, id: DumpId) -> Cow<'_, [u8]> {
    raw_text::encode(cat.get(id).map_or("", |object| &object.name))
}
