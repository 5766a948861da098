//! The catalogs of one database, read in bulk.
//!
//! Each object family has a file: its queries, its type, its statements and their tests. Reading goes in
//! batches of [`Step`]s. All queries of a batch are sent at once (one round trip, however far the server
//! is), and divisible ones are shared by several sessions ([`sessions`]); their rows are absorbed in the
//! order in which the steps stand, which is pg_dump's, because that order numbers the objects, and while the
//! server still works on what comes later. A step's query may look at what earlier *batches* absorbed, its absorb
//! function at everything that was absorbed before it.

use std::collections::HashMap;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;

use super::connect::session::{Query, Row, Session};
use super::options::DumpOptions;
use super::progress::{Progress, ReadCatalog};
use super::server::Server;
use super::warning::Warning;
use crate::error::{Fail, Result};
use crate::sql::quote::Quote;

pub mod access_method;
pub mod acl;
pub mod aggregate;
pub mod annotate;
pub mod attachment;
pub mod cast;
pub mod collation;
pub mod column;
pub mod constraint;
pub mod conversion;
pub mod database;
pub mod default_acl;
pub mod dependency;
pub mod emit;
pub mod event_trigger;
pub mod expression;
pub mod extension;
pub mod foreign;
pub mod function;
pub mod index;
pub mod inherit;
pub mod language;
pub mod large_object;
pub mod lock;
pub mod object;
pub mod opclass;
pub mod operator;
pub mod opfamily;
pub mod pattern;
pub mod policy;
pub mod preflight;
pub mod publication;
pub mod relation_stats;
pub mod role;
pub mod rule;
pub mod schema;
pub mod select;
pub mod sequence;
pub mod sessions;
pub mod setting;
pub mod statistics;
pub mod subscription;
pub mod table;
pub mod table_data;
pub mod table_ddl;
pub mod text_search;
pub mod transform;
pub mod trigger;
pub mod type_name;
pub mod types;
pub mod upgrade;
pub mod view;

use object::{CatalogId, Components, DumpId, Object, Oid};
use sessions::Sessions;

/// What an object is. The variants are pg_dump's `DumpableObjectType`, each with what only it has; in a box unless
/// it is small, because a database has most of those that are.
#[derive(Debug)]
#[allow(missing_docs)] // each variant is named after its type
pub enum Kind {
    Namespace(Box<schema::Namespace>),
    Extension(Box<extension::Extension>),
    Type(Box<types::TypeInfo>),
    ShellType(types::ShellType),
    DummyType,
    Function(Box<function::Function>),
    Aggregate(Box<aggregate::Aggregate>),
    Operator(Box<operator::Operator>),
    AccessMethod(access_method::AccessMethod),
    OpClass(Box<opclass::OpClass>),
    OpFamily(Box<opfamily::OpFamily>),
    Collation(Box<collation::Collation>),
    Conversion(Box<conversion::Conversion>),
    Table(Box<table::Table>),
    TableAttach(inherit::TableAttach),
    AttrDef(expression::AttrDef),
    Index(Box<index::Index>),
    IndexAttach(index::IndexAttach),
    Statistics(statistics::Statistics),
    RelationStats(Box<relation_stats::RelationStats>),
    Rule(rule::Rule),
    Trigger(trigger::Trigger),
    Constraint(constraint::Constraint),
    FkConstraint(constraint::Constraint),
    Language(Box<language::Language>),
    Cast(cast::Cast),
    Transform(transform::Transform),
    TableData(table_data::TableData),
    SequenceSet(table_data::TableData),
    RefreshMatView(table_data::TableData),
    TsParser(Box<text_search::Parser>),
    TsDictionary(Box<text_search::Dictionary>),
    TsTemplate(text_search::Template),
    TsConfiguration(Box<text_search::Configuration>),
    ForeignDataWrapper(Box<foreign::ForeignDataWrapper>),
    ForeignServer(Box<foreign::ForeignServer>),
    DefaultAcl(default_acl::DefaultAcl),
    LargeObject(Box<large_object::LargeObject>),
    LargeObjectData,
    PreDataBoundary,
    PostDataBoundary,
    EventTrigger(Box<event_trigger::EventTrigger>),
    Policy(Box<policy::Policy>),
    Publication(publication::Publication),
    PublicationRel(publication::PublicationRel),
    PublicationSchema(publication::PublicationSchema),
    Subscription(Box<subscription::Subscription>),
    SubscriptionRel(subscription::SubscriptionRel),
}

/// One query of a batch and what is done with its rows.
pub struct Step {
    /// What it reads, for error messages: `tables`, `functions` …
    pub what: &'static str,
    /// The query; `None` when this server or selection needs none, and then `absorb` gets no rows.
    pub query: fn(&Catalog) -> Option<Query>,
    /// Takes the rows in. It is called also when there was no query.
    pub absorb: fn(&mut Catalog, Vec<Row>) -> Result<()>,
}

/// Everything that is known of the database.
pub struct Catalog {
    /// The server and the database.
    pub server: Server,
    /// What to dump.
    pub options: DumpOptions,
    /// Names of all roles by OID; see [`Catalog::role`].
    pub roles: HashMap<Oid, String>,
    /// Which extension (by dump id) a catalog row is a member of.
    pub extension_members: HashMap<CatalogId, DumpId>,
    /// Names of types by OID; see [`Catalog::type_name`].
    pub type_names: HashMap<Oid, String>,
    /// Patterns of the options, expanded to OIDs.
    pub selection: select::Selection,
    /// Comments and security labels of everything.
    pub attachments: attachment::Attachments,
    /// The database itself; it is no numbered object in pg_dump either.
    pub database: database::Database,
    /// Files of relations and indexes, for `--binary-upgrade`.
    pub files: HashMap<Oid, upgrade::Files>,
    /// See [`constraint::FOREIGN_KEY_ORDER`].
    pub foreign_keys_by_name: bool,
    /// What pg_dump would warn of, for the manifest and the log.
    pub warnings: Vec<Warning>,
    objects: Vec<Option<Object>>,
    by_catalog_id: HashMap<CatalogId, DumpId>,
}

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new(server: Server, mut options: DumpOptions) -> Self {
        // Up to 17 pg_upgrade does not carry sequences over as files; since then it asks for their values itself.
        options.sequence_data |= options.binary_upgrade && server.major() < 18;
        // A standby has no contents of unlogged relations: reading them is an error.
        options.no_unlogged_table_data |= server.in_recovery;
        Catalog {
            server,
            options,
            roles: HashMap::new(),
            extension_members: HashMap::new(),
            type_names: HashMap::new(),
            selection: select::Selection::default(),
            attachments: attachment::Attachments::default(),
            database: database::Database::default(),
            files: HashMap::new(),
            foreign_keys_by_name: false,
            warnings: Vec::new(),
            objects: Vec::new(),
            by_catalog_id: HashMap::new(),
        }
    }

    /// How to quote for this server.
    #[must_use]
    pub fn quote(&self) -> Quote {
        Quote {
            major: self.server.major(),
            all: self.options.quote_all_identifiers,
            std_strings: self.server.std_strings,
            characters: self.server.characters(),
        }
    }

    /// Takes the next dump id without an object (pg_dump's `createDumpId`).
    pub fn new_dump_id(&mut self) -> DumpId {
        self.objects.push(None);
        self.last_dump_id()
    }

    /// The highest dump id that was given out.
    #[must_use]
    pub fn last_dump_id(&self) -> DumpId {
        DumpId::try_from(self.objects.len()).unwrap_or(DumpId::MAX)
    }

    /// Numbers an object and keeps it (pg_dump's `AssignDumpId`). It is dumped in full until a selection
    /// says otherwise; `components` starts as the definition alone.
    pub fn add(
        &mut self,
        catalog_id: CatalogId,
        name: impl Into<String>,
        namespace: Option<DumpId>,
        kind: Kind,
    ) -> DumpId {
        let dump_id = self.new_dump_id();
        if catalog_id.table != 0 {
            self.by_catalog_id.insert(catalog_id, dump_id);
        }
        let slot = self.objects.len() - 1;
        self.objects[slot] = Some(Object {
            dump_id,
            catalog_id,
            name: name.into(),
            namespace,
            dump: Components::ALL,
            dump_contains: Components::ALL,
            components: Components::DEFINITION,
            ext_member: false,
            depends_on_ext: false,
            dependencies: Vec::new(),
            kind,
        });
        dump_id
    }

    /// The object with number `id`.
    #[must_use]
    pub fn get(&self, id: DumpId) -> Option<&Object> {
        self.objects.get(usize::try_from(id).ok()?.checked_sub(1)?)?.as_ref()
    }

    /// The object with number `id`, to change.
    pub fn get_mut(&mut self, id: DumpId) -> Option<&mut Object> {
        self.objects
            .get_mut(usize::try_from(id).ok()?.checked_sub(1)?)?
            .as_mut()
    }

    /// The number of the object that the server lists as `oid` in the catalog `table` (see [`object::class`]).
    #[must_use]
    pub fn find(&self, table: Oid, oid: Oid) -> Option<DumpId> {
        self.by_catalog_id.get(&CatalogId::new(table, oid)).copied()
    }

    /// The object that the server lists as `oid` in the catalog `table`.
    #[must_use]
    pub fn object(&self, table: Oid, oid: Oid) -> Option<&Object> {
        self.get(self.find(table, oid)?)
    }

    /// All objects in the order of their numbers.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().flatten()
    }

    /// OIDs of the objects that are `of` a kind and that this dump writes anything about.
    #[must_use]
    pub fn wanted(&self, of: impl Fn(&Kind) -> bool) -> Vec<Oid> {
        self.objects()
            .filter(|object| of(&object.kind) && !(object.dump & object.components).is_none())
            .map(|object| object.catalog_id.oid)
            .collect()
    }

    /// All objects in the order of their numbers, to change.
    pub fn objects_mut(&mut self) -> impl Iterator<Item = &mut Object> {
        self.objects.iter_mut().flatten()
    }

    /// Says that `id` must come after `on`.
    pub fn add_dependency(&mut self, id: DumpId, on: DumpId) {
        if let Some(object) = self.get_mut(id) {
            object.dependencies.push(on);
        }
    }

    /// Takes one dependency back (loop repair).
    pub fn remove_dependency(&mut self, id: DumpId, on: DumpId) {
        if let Some(object) = self.get_mut(id) {
            object.dependencies.retain(|dependency| *dependency != on);
        }
    }

    /// Name of the schema with number `namespace`.
    #[must_use]
    pub fn namespace_name(&self, namespace: Option<DumpId>) -> Option<&str> {
        Some(&self.get(namespace?)?.name)
    }

    /// Name of the role with OID `oid`.
    ///
    /// # Errors
    /// No such role exists: the catalogs are inconsistent, as pg_dump would say too.
    pub fn role(&self, oid: Oid) -> Result<&str> {
        let name = self
            .roles
            .get(&oid)
            .with_context(|| format!("role with OID {oid} does not exist"))?;
        Ok(name)
    }

    /// The schema object with OID `oid`.
    ///
    /// # Errors
    /// It does not exist.
    pub fn namespace(&self, oid: Oid) -> Result<DumpId> {
        self.find(object::class::PG_NAMESPACE, oid)
            .with_context(|| format!("schema with OID {oid} does not exist"))
    }

    /// Runs the queries of a batch at once and absorbs their rows in order.
    ///
    /// # Errors
    /// What the server says, with the name of the step.
    pub async fn run_batch(&mut self, sessions: Sessions<'_>, steps: &[Step], progress: &dyn Progress) -> Result<()> {
        let queries: Vec<_> = steps
            .iter()
            .map(|step| (step.query)(self).map_or_else(Vec::new, |query| sessions.share(query)))
            .collect();
        // They are sent in the order in which they stand here: some change settings for those behind them.
        let mut answers: FuturesOrdered<_> = queries.iter().flatten().map(|part| sessions.rows(part)).collect();
        for (step, parts) in steps.iter().zip(&queries) {
            let reading = || format!("reading {}", step.what);
            let mut rows = Vec::new();
            for _ in parts {
                let part = answers.next().await.with_context(reading)?;
                rows.append(&mut part.with_context(reading)?);
            }
            let found = !rows.is_empty();
            (step.absorb)(self, rows).map_err(|error| match error.is::<Fail>() {
                // What the user asked for is wrong, not the reading: pg_dump's own words are enough.
                true => error,
                false => error.context(reading()),
            })?;
            progress.read_catalog(&ReadCatalog {
                what: step.what,
                asked: !parts.is_empty(),
                found,
                cat: self,
            });
        }
        Ok(())
    }

    /// Reads which objects there are: what the patterns mean, and identities. No object is locked yet.
    ///
    /// # Errors
    /// What the server says; a pattern that matches nothing under `--strict-names`.
    pub async fn read_identities(&mut self, leader: &Session, progress: &dyn Progress) -> Result<()> {
        let alone = Sessions { leader, helpers: &[] };
        self.run_batch(alone, PATTERNS, progress).await?;
        self.run_batch(alone, IDENTITIES, progress).await
    }

    /// Reads what the objects look like and what depends on what; all that is to be locked is locked.
    ///
    /// # Errors
    /// What the server says.
    pub async fn read_details(&mut self, sessions: Sessions<'_>, progress: &dyn Progress) -> Result<()> {
        sessions.begin().await?;
        self.run_batch(sessions, DETAILS, progress).await?;
        sessions.end().await?;
        dependency::add_boundaries(self);
        Ok(())
    }
}

/// Expands the patterns of the options.
const PATTERNS: &[Step] = &[
    database::READ,
    pattern::SCHEMAS,
    pattern::USER_SEARCH_PATH,
    pattern::TABLES,
    pattern::EMPTY_SEARCH_PATH,
    pattern::FOREIGN_SERVERS,
    pattern::EXTENSIONS,
];

/// Which objects there are, in pg_dump's `getSchemaData` order.
const IDENTITIES: &[Step] = &[
    role::NAMES,
    attachment::COMMENTS,
    attachment::SECURITY_LABELS,
    attachment::INITIAL_PRIVILEGES,
    database::SETTINGS,
    database::ROLE_SETTINGS,
    database::SECURITY_LABELS,
    database::LARGE_OBJECT_FILES,
    extension::READ,
    extension::MEMBERS,
    schema::READ,
    table::READ,
    table::OWNED_SEQUENCES,
    function::READ,
    types::READ,
    language::READ,
    aggregate::READ,
    operator::READ,
    access_method::READ,
    opclass::READ,
    opfamily::READ,
    text_search::PARSERS,
    text_search::TEMPLATES,
    text_search::DICTIONARIES,
    text_search::CONFIGURATIONS,
    foreign::WRAPPERS,
    foreign::SERVERS,
    default_acl::READ,
    collation::READ,
    conversion::READ,
    cast::READ,
    transform::READ,
    event_trigger::READ,
    extension::CONFIGURATION_TABLES,
    inherit::FLAG_TABLES,
    attachment::MARK,
];

/// What is below tables, then what the wanted objects look like, then what depends on what.
const DETAILS: &[Step] = &[
    column::READ,
    expression::DEFAULTS,
    expression::NOT_NULLS,
    expression::CHECKS,
    inherit::FLAG_COLUMNS,
    inherit::UNSAFE_PARTITIONS,
    index::READ,
    index::FLAG_INHERITED,
    statistics::READ,
    constraint::FOREIGN_KEY_ORDER,
    constraint::FOREIGN_KEYS,
    trigger::READ,
    rule::READ,
    policy::READ,
    publication::READ,
    publication::RELATIONS,
    publication::SCHEMAS,
    subscription::READ,
    subscription::RELATIONS,
    table_data::READ,
    large_object::READ,
    type_name::READ,
    types::BASE,
    types::COMPOSITES,
    types::DOMAINS,
    types::ENUMS,
    types::RANGES,
    function::DETAILS,
    aggregate::DETAILS,
    operator::DETAILS,
    opclass::DETAILS,
    opfamily::OPERATORS,
    opfamily::FUNCTIONS,
    collation::DETAILS,
    conversion::DETAILS,
    text_search::DETAILS,
    foreign::USER_MAPPINGS,
    view::DEFINITIONS,
    sequence::DETAILS,
    sequence::VALUES,
    table_ddl::DETAILS,
    inherit::BOUNDS,
    upgrade::FILES,
    column::ACLS,
    relation_stats::READ,
    dependency::READ,
    attachment::MARK,
];
