//! Repairing loops of dependencies, so that a topological sort becomes possible.

use super::topological::index;
use crate::archive::toc::Section;
use crate::engine::postgres::catalog::object::{Components, DumpId, Object};
use crate::engine::postgres::catalog::{Catalog, Kind};
use crate::engine::postgres::warning::Warning;

/// Finds loops among `unsorted` and repairs those that have no member in common: repairing one may repair those
/// that overlap it. Says whether there was one.
pub fn loops(cat: &mut Catalog, unsorted: &[DumpId]) -> bool {
    let mut search = Search::new(cat.last_dump_id());
    let mut repaired = false;
    for id in unsorted {
        match search.find(cat, *id) {
            Some(members) => {
                for member in &members {
                    search.processed[index(*member)] = true;
                }
                repair(cat, &members);
                repaired = true;
            }
            // Nothing leads back to it, so no later search needs to come by.
            None => search.processed[index(*id)] = true,
        }
    }
    repaired
}

/// A depth-first search for a way back to where it started.
struct Search {
    /// Objects that are no longer of interest.
    processed: Vec<bool>,
    /// The start that an object was proven not to lead back to.
    failed_from: Vec<DumpId>,
    /// Objects on the path from the start; none between searches.
    on_path: Vec<bool>,
}

impl Search {
    fn new(last: DumpId) -> Self {
        Search {
            processed: vec![false; index(last) + 1],
            failed_from: vec![0; index(last) + 1],
            on_path: vec![false; index(last) + 1],
        }
    }

    /// The members of a loop that starts at `start`, in the order of their dependencies. A stack and not
    /// recursion: chains of dependencies can be as long as there are objects.
    fn find(&mut self, cat: &Catalog, start: DumpId) -> Option<Vec<DumpId>> {
        let mut path: Vec<(DumpId, usize)> = Vec::new();
        let mut entering = Some(start);
        loop {
            if let Some(id) = entering.take()
                && let Some(object) = cat.get(id)
                && !self.processed[index(id)]
                && self.failed_from[index(id)] != start
                && !self.on_path[index(id)]
            {
                path.push((id, 0));
                self.on_path[index(id)] = true;
                if object.dependencies.contains(&start) {
                    let members: Vec<_> = path.into_iter().map(|(id, _)| id).collect();
                    members.iter().for_each(|id| self.on_path[index(*id)] = false);
                    return Some(members);
                }
            }
            let (id, next) = path.last_mut()?;
            let dependencies = cat.get(*id).map_or(&[][..], |object| &object.dependencies);
            if let Some(dependency) = dependencies.get(*next) {
                *next += 1;
                entering = Some(*dependency);
            } else {
                self.failed_from[index(*id)] = start;
                self.on_path[index(*id)] = false;
                path.pop();
            }
        }
    }
}

/// Breaks one loop: where it stands for something known, by dumping a part of an object apart; else anywhere,
/// with a warning.
fn repair(cat: &mut Catalog, members: &[DumpId]) {
    let repaired = match *members {
        [only] => repair_self(cat, only),
        [one, other] => repair_pair(cat, one, other) || repair_pair(cat, other, one),
        _ => repair_long(cat, members),
    };
    if !repaired {
        warn(cat, members);
        cat.remove_dependency(members[0], members[if members.len() > 1 { 1 } else { 0 }]);
    }
}

/// A table that depends on itself (a column on another one) is no problem.
fn repair_self(cat: &mut Catalog, id: DumpId) -> bool {
    let is_table = cat.table(id).is_some();
    if is_table {
        cat.remove_dependency(id, id);
    }
    is_table
}

/// Two objects that depend on each other, `whole` being the one that `part` is dumped with.
fn repair_pair(cat: &mut Catalog, whole: DumpId, part: DumpId) -> bool {
    let (Some(one), Some(other)) = (cat.get(whole), cat.get(part)) else {
        return false;
    };
    match (&one.kind, &other.kind) {
        (Kind::Type(_), Kind::Function(_)) => repair_type_and_function(cat, whole, part),
        // The parent of a partition's index may need it to be there first; the attachment ties them anyway.
        (Kind::Index(partition), Kind::Index(_)) if partition.parent == other.catalog_id.oid => {
            cat.remove_dependency(whole, part);
        }
        (Kind::Table(table), Kind::Rule(_)) if matches!(table.relkind, 'v' | 'm') && is_on_select(other, whole) => {
            cat.remove_dependency(part, whole);
        }
        (Kind::Table(_) | Kind::Type(_), _) if is_check(other, whole) => cat.remove_dependency(part, whole),
        (Kind::Table(_), Kind::AttrDef(default)) if default.table == whole => cat.remove_dependency(part, whole),
        _ => return false,
    }
    true
}

/// A base type and its I/O functions need each other, a range type and its canonical function too: the function
/// then depends on the shell type, which must be dumped whenever the function is.
fn repair_type_and_function(cat: &mut Catalog, of_type: DumpId, function: DumpId) {
    cat.remove_dependency(function, of_type);
    let shell = match cat.get(of_type).map(|object| &object.kind) {
        Some(Kind::Type(it)) => it.shell_type,
        _ => None,
    };
    let Some(shell) = shell else { return };
    cat.add_dependency(function, shell);
    let dump = cat.get(function).map_or(Components::NONE, |object| object.dump);
    if !dump.is_none()
        && let Some(object) = cat.get_mut(shell)
    {
        object.dump = dump | Components::DEFINITION;
    }
}

/// Loops of more than two. What is tried first wins, as for pg_dump: views, then what may be postponed past the
/// data, then the parts of tables, then those of domains.
fn repair_long(cat: &mut Catalog, members: &[DumpId]) -> bool {
    split_view(cat, members)
        || postpone(cat, members)
        || split_part(cat, members, |kind| matches!(kind, Kind::Table(_)), is_check)
        || split_default(cat, members)
        || split_part(cat, members, |kind| matches!(kind, Kind::Type(_)), is_check)
}

/// A view in the loop is dumped as a dummy, and its rule when all the rest is there.
fn split_view(cat: &mut Catalog, members: &[DumpId]) -> bool {
    let found = find_pair(cat, members, |whole, part| {
        matches!(&whole.kind, Kind::Table(table) if table.relkind == 'v') && is_on_select(part, whole.dump_id)
    });
    let Some((view, rule)) = found else { return false };
    separate(cat, view, rule);
    if let Some(table) = cat.table_mut(view) {
        table.dummy_view = true;
    }
    true
}

/// A materialized view or a function in the loop (one whose GROUP BY needs a primary key, say) moves behind the
/// data, with all that ties it to the sections before it.
fn postpone(cat: &mut Catalog, members: &[DumpId]) -> bool {
    let boundary_of = |object: &Object| -> Option<fn(&Kind) -> bool> {
        match &object.kind {
            Kind::Table(table) if table.relkind == 'm' => Some(is_pre_data_boundary),
            Kind::RelationStats(stats) if stats.relation.relkind == 'm' => Some(is_post_data_boundary),
            _ => None,
        }
    };
    let place = |cat: &Catalog, is_boundary: fn(&Kind) -> bool| {
        members
            .iter()
            .position(|id| cat.get(*id).is_some_and(|object| is_boundary(&object.kind)))
    };
    let matview = members
        .iter()
        .filter_map(|id| boundary_of(cat.get(*id)?))
        .find_map(|is_boundary| place(cat, is_boundary));
    let has_function = members
        .iter()
        .any(|id| cat.get(*id).is_some_and(|o| matches!(o.kind, Kind::Function(_))));
    let function = || {
        if has_function {
            place(cat, is_pre_data_boundary)
        } else {
            None
        }
    };
    let Some(boundary) = matview.or_else(function) else {
        return false;
    };

    let next = members[(boundary + 1) % members.len()];
    cat.remove_dependency(members[boundary], next);
    match cat.get_mut(next).map(|object| &mut object.kind) {
        Some(Kind::Table(table)) if matview.is_some() && table.relkind == 'm' => table.postponed_def = true,
        Some(Kind::RelationStats(stats)) if matview.is_some() && stats.relation.relkind == 'm' => {
            stats.section = Section::PostData;
        }
        Some(Kind::Function(function)) if matview.is_none() => function.postponed_def = true,
        _ => {}
    }
    true
}

/// A check in the loop gets an entry of its own.
fn split_part(
    cat: &mut Catalog,
    members: &[DumpId],
    is_whole: fn(&Kind) -> bool,
    is_part: fn(&Object, DumpId) -> bool,
) -> bool {
    let found = find_pair(cat, members, |whole, part| {
        is_whole(&whole.kind) && is_part(part, whole.dump_id)
    });
    if let Some((whole, part)) = found {
        separate(cat, whole, part);
    }
    found.is_some()
}

/// A column's default in the loop gets an entry of its own, still before the data.
fn split_default(cat: &mut Catalog, members: &[DumpId]) -> bool {
    let found = find_pair(
        cat,
        members,
        |whole, part| matches!(&part.kind, Kind::AttrDef(default) if default.table == whole.dump_id),
    );
    let Some((table, default)) = found else { return false };
    cat.remove_dependency(table, default);
    cat.add_dependency(default, table);
    if let Some(Kind::AttrDef(it)) = cat.get_mut(default).map(|object| &mut object.kind) {
        it.separate = true;
    }
    true
}

/// Turns the dependency of `whole` on `part` round and moves `part` behind the data.
fn separate(cat: &mut Catalog, whole: DumpId, part: DumpId) {
    cat.remove_dependency(whole, part);
    cat.add_dependency(part, whole);
    match cat.get_mut(part).map(|object| &mut object.kind) {
        Some(Kind::Rule(rule)) => rule.separate = true,
        Some(Kind::Constraint(constraint)) => constraint.separate = true,
        _ => {}
    }
    let boundary = cat
        .objects()
        .find(|object| is_post_data_boundary(&object.kind))
        .map(|object| object.dump_id);
    if let Some(boundary) = boundary {
        cat.add_dependency(part, boundary);
    }
}

/// The first two of `members`, in the order of the loop, of which `test` says that they belong together.
fn find_pair(cat: &Catalog, members: &[DumpId], test: impl Fn(&Object, &Object) -> bool) -> Option<(DumpId, DumpId)> {
    let objects = || members.iter().filter_map(|id| cat.get(*id));
    objects().find_map(|whole| {
        let part = objects().find(|part| test(whole, part))?;
        Some((whole.dump_id, part.dump_id))
    })
}

/// Whether `object` is the rule that makes `view` a view.
fn is_on_select(object: &Object, view: DumpId) -> bool {
    matches!(&object.kind, Kind::Rule(rule) if rule.ev_type == '1' && rule.is_instead && rule.table == view)
}

/// Whether `object` is a check of the table `whole`, or a check or NOT NULL of the domain `whole`.
fn is_check(object: &Object, whole: DumpId) -> bool {
    match &object.kind {
        Kind::Constraint(it) if it.table == Some(whole) => it.contype == 'c',
        Kind::Constraint(it) if it.domain == Some(whole) => matches!(it.contype, 'c' | 'n'),
        _ => false,
    }
}

fn is_pre_data_boundary(kind: &Kind) -> bool {
    matches!(kind, Kind::PreDataBoundary)
}

fn is_post_data_boundary(kind: &Kind) -> bool {
    matches!(kind, Kind::PostDataBoundary)
}

/// What pg_dump advises where foreign keys are circular.
const CIRCULAR_KEYS: [&str; 2] = [
    "You might not be able to restore the dump without using --disable-triggers or temporarily dropping the constraints.",
    "Consider using a full dump instead of a --data-only dump to avoid this problem.",
];

/// Says what pg_dump says of a loop that cannot be broken well.
fn warn(cat: &mut Catalog, members: &[DumpId]) {
    let objects: Vec<_> = members.iter().filter_map(|id| cat.get(*id)).collect();
    let only_data = objects.iter().all(|object| matches!(object.kind, Kind::TableData(_)));
    let names: Vec<String> = objects.iter().map(|object| describe(object, only_data)).collect();
    let text = match (only_data, names.len()) {
        (true, 1) => "there are circular foreign-key constraints on this table",
        (true, _) => "there are circular foreign-key constraints among these tables",
        (false, _) => "could not resolve dependency loop among these items",
    };
    cat.warnings.push(Warning {
        text: text.to_owned(),
        details: names,
        hints: if only_data { CIRCULAR_KEYS.to_vec() } else { Vec::new() },
    });
}

fn describe(object: &Object, by_name: bool) -> String {
    if by_name {
        return object.name.clone();
    }
    format!("{} (ID {} OID {})", object.name, object.dump_id, object.catalog_id.oid)
}
