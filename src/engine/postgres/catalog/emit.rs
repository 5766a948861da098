//! From sorted objects to the entries of an archive.

use super::object::{DumpId, Object};
use super::{Catalog, Kind};
use crate::archive::toc::{Entry, Section};
use crate::error::Result;
use crate::sql::quote::Quote;

/// Builds the table of contents.
pub struct Emit<'a> {
    /// What is dumped.
    pub cat: &'a Catalog,
    /// How to quote.
    pub q: Quote,
    /// The entries so far, in their final order.
    pub entries: Vec<Entry>,
    last_dump_id: DumpId,
}

impl<'a> Emit<'a> {
    /// A table of contents without entries.
    #[must_use]
    pub fn new(cat: &'a Catalog) -> Self {
        Emit {
            cat,
            q: cat.quote(),
            entries: Vec::new(),
            last_dump_id: cat.last_dump_id(),
        }
    }

    /// Takes the next dump id, for an entry that belongs to no object (an ACL, a comment).
    pub fn new_dump_id(&mut self) -> DumpId {
        self.last_dump_id += 1;
        self.last_dump_id
    }

    /// The entry of `object`: its ids, name and schema are filled in. Its dependencies as the catalogs
    /// have them are left to [`super::dependency::reduce`], when all entries are there.
    #[must_use]
    pub fn entry(&self, object: &Object, desc: &str, section: Section) -> Entry {
        let mut entry = Entry::new(object.dump_id, desc, object.name.clone(), section);
        entry.table_oid = object.catalog_id.table;
        entry.oid = object.catalog_id.oid;
        entry.namespace = self.cat.namespace_name(object.namespace).map(str::to_owned);
        entry
    }

    /// Adds an entry. Its text was put together piece by piece; what that left over adds up.
    pub fn push(&mut self, mut entry: Entry) {
        entry.defn.shrink_to_fit();
        entry.drop_stmt.shrink_to_fit();
        self.entries.push(entry);
    }

    /// `schema.name` of an object, quoted.
    #[must_use]
    pub fn qualified(&self, object: &Object) -> String {
        match self.cat.namespace_name(object.namespace) {
            Some(schema) => self.q.qualified(schema, &object.name),
            None => self.q.id(&object.name).into_owned(),
        }
    }

    /// Adds the entries of one object (pg_dump's `dumpDumpableObject`).
    ///
    /// # Errors
    /// The catalogs are inconsistent.
    pub fn dump(&mut self, object: &Object) -> Result<()> {
        // What the object does not have at all needs no work; what is not wanted neither.
        if (object.dump & object.components).is_none() {
            return Ok(());
        }
        match &object.kind {
            Kind::Namespace(it) => super::schema::dump(self, object, it),
            Kind::Extension(it) => super::extension::dump(self, object, it),
            Kind::Type(it) => super::types::dump(self, object, it),
            Kind::ShellType(it) => super::types::dump_shell(self, object, it),
            Kind::Function(it) => super::function::dump(self, object, it),
            Kind::Aggregate(it) => super::aggregate::dump(self, object, it),
            Kind::Operator(it) => super::operator::dump(self, object, it),
            Kind::AccessMethod(it) => super::access_method::dump(self, object, it),
            Kind::OpClass(it) => super::opclass::dump(self, object, it),
            Kind::OpFamily(it) => super::opfamily::dump(self, object, it),
            Kind::Collation(it) => super::collation::dump(self, object, it),
            Kind::Conversion(it) => super::conversion::dump(self, object, it),
            Kind::Table(it) => super::table_ddl::dump(self, object, it),
            Kind::TableAttach(it) => super::inherit::dump_attach(self, object, it),
            Kind::AttrDef(it) => super::expression::dump(self, object, it),
            Kind::Index(it) => super::index::dump(self, object, it),
            Kind::IndexAttach(it) => super::index::dump_attach(self, object, it),
            Kind::Statistics(it) => super::statistics::dump(self, object, it),
            Kind::RelationStats(it) => super::relation_stats::dump(self, object, it),
            Kind::Rule(it) => super::rule::dump(self, object, it),
            Kind::Trigger(it) => super::trigger::dump(self, object, it),
            Kind::Constraint(it) | Kind::FkConstraint(it) => super::constraint::dump(self, object, it),
            Kind::Language(it) => super::language::dump(self, object, it),
            Kind::Cast(it) => super::cast::dump(self, object, it),
            Kind::Transform(it) => super::transform::dump(self, object, it),
            Kind::TableData(it) => super::table_data::dump(self, object, it),
            Kind::SequenceSet(it) => super::sequence::dump_value(self, object, it),
            Kind::RefreshMatView(it) => super::view::dump_refresh(self, object, it),
            Kind::TsParser(it) => super::text_search::dump_parser(self, object, it),
            Kind::TsDictionary(it) => super::text_search::dump_dictionary(self, object, it),
            Kind::TsTemplate(it) => super::text_search::dump_template(self, object, it),
            Kind::TsConfiguration(it) => super::text_search::dump_configuration(self, object, it),
            Kind::ForeignDataWrapper(it) => super::foreign::dump_wrapper(self, object, it),
            Kind::ForeignServer(it) => super::foreign::dump_server(self, object, it),
            Kind::DefaultAcl(it) => super::default_acl::dump(self, object, it),
            Kind::LargeObject(it) => super::large_object::dump(self, object, it),
            Kind::LargeObjectData => super::large_object::dump_data(self, object),
            Kind::EventTrigger(it) => super::event_trigger::dump(self, object, it),
            Kind::Policy(it) => super::policy::dump(self, object, it),
            Kind::Publication(it) => super::publication::dump(self, object, it),
            Kind::PublicationRel(it) => super::publication::dump_relation(self, object, it),
            Kind::PublicationSchema(it) => super::publication::dump_schema(self, object, it),
            Kind::Subscription(it) => super::subscription::dump(self, object, it),
            Kind::SubscriptionRel(it) => super::subscription::dump_relation(self, object, it),
            Kind::DummyType | Kind::PreDataBoundary | Kind::PostDataBoundary => Ok(()),
        }
    }
}

/// The whole table of contents of `cat`, its objects in the order `sorted`. Entries have only the dependencies that
/// they name themselves: text says no others, and an archive gets them by [`super::dependency::reduce`].
///
/// # Errors
/// The catalogs are inconsistent, or hold something that the engine does not cover.
pub fn entries(cat: &Catalog, sorted: &[DumpId]) -> Result<Vec<Entry>> {
    let mut emit = Emit::new(cat);
    super::database::dump_settings(&mut emit)?;
    if cat.options.create {
        super::database::dump(&mut emit)?;
    }
    for id in sorted {
        if let Some(object) = cat.get(*id) {
            emit.dump(object)?;
        }
    }
    Ok(emit.entries)
}
