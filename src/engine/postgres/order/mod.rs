//! The order of a dump: by type and name first, so that equal schemas dump equal, then by dependency with as
//! little change to that as possible, with loops of dependencies repaired where they stand.

mod by_name;
mod repair;
mod topological;

use anyhow::bail;

use super::catalog::Catalog;
use super::catalog::object::DumpId;
use crate::error::Result;

/// All objects in the order in which they are dumped. Repairing a loop changes the objects that are in it: a
/// view may become a dummy whose rule is dumped apart, a check may become a constraint of its own.
///
/// # Errors
/// The dependencies contradict each other, but no loop can be found: the catalogs are inconsistent.
pub fn sort(cat: &mut Catalog) -> Result<Vec<DumpId>> {
    let by_name = by_name::sort(cat);
    loop {
        match topological::sort(cat, &by_name) {
            Ok(sorted) => return Ok(sorted),
            Err(unsorted) => {
                if !repair::loops(cat, &unsorted) {
                    bail!("could not identify dependency loop");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::catalog::Kind;
    use crate::engine::postgres::catalog::constraint::Constraint;
    use crate::engine::postgres::catalog::object::{CatalogId, class};
    use crate::engine::postgres::catalog::rule::Rule;
    use crate::engine::postgres::catalog::table::Table;
    use crate::engine::postgres::options::DumpOptions;
    use crate::engine::postgres::server::Server;

    fn catalog() -> Catalog {
        let server = Server {
            version_num: 150_000,
            version: "15.0".to_owned(),
            database: "d".to_owned(),
            database_encoding: "UTF8".to_owned(),
            encoding: "UTF8".to_owned(),
            std_strings: true,
            superuser: true,
            in_recovery: false,
            spelling: <_>::default(),
        };
        Catalog::new(server, DumpOptions::default())
    }

    fn relation(cat: &mut Catalog, name: &str, relkind: char) -> DumpId {
        let table = Table {
            relkind,
            ..Table::default()
        };
        let oid = u32::try_from(cat.last_dump_id() + 1).unwrap();
        cat.add(
            CatalogId::new(class::PG_CLASS, oid),
            name,
            None,
            Kind::Table(Box::new(table)),
        )
    }

    fn names(cat: &Catalog, ids: &[DumpId]) -> Vec<String> {
        ids.iter().map(|id| cat.get(*id).unwrap().name.clone()).collect()
    }

    #[test]
    fn dependencies_change_the_order_by_name_as_little_as_possible() {
        let mut cat = catalog();
        let [d, c, _, a] = ["d", "c", "b", "a"].map(|name| relation(&mut cat, name, 'r'));
        cat.add_dependency(a, c);
        cat.add_dependency(d, a);
        let sorted = sort(&mut cat).unwrap();
        assert_eq!(names(&cat, &sorted), ["c", "a", "b", "d"]);
    }

    #[test]
    fn a_view_and_its_rule_need_no_dummy() {
        let mut cat = catalog();
        let (view, rule) = view_with_rule(&mut cat, "v");
        let sorted = sort(&mut cat).unwrap();
        assert_eq!(sorted, [rule, view]);
        assert!(!cat.table(view).unwrap().dummy_view);
    }

    #[test]
    fn a_view_that_needs_what_needs_it_becomes_a_dummy_first() {
        let mut cat = catalog();
        let (view, rule) = view_with_rule(&mut cat, "v");
        let table = relation(&mut cat, "t", 'r');
        cat.add_dependency(rule, table);
        cat.add_dependency(table, view);
        let boundary = cat.add(CatalogId::default(), "POST-DATA BOUNDARY", None, Kind::PostDataBoundary);
        let sorted = sort(&mut cat).unwrap();
        assert_eq!(sorted, [view, table, boundary, rule]);
        assert!(cat.table(view).unwrap().dummy_view);
        assert!(matches!(&cat.get(rule).unwrap().kind, Kind::Rule(rule) if rule.separate));
        assert_eq!(cat.warnings, []);
    }

    #[test]
    fn a_check_that_needs_what_needs_its_table_is_added_later() {
        let mut cat = catalog();
        let table = relation(&mut cat, "t", 'r');
        let other = relation(&mut cat, "u", 'r');
        let check = Constraint {
            table: Some(table),
            contype: 'c',
            ..Constraint::default()
        };
        let check = cat.add(CatalogId::default(), "c", None, Kind::Constraint(check));
        for (id, on) in [(table, check), (check, table), (check, other), (other, table)] {
            cat.add_dependency(id, on);
        }
        let sorted = sort(&mut cat).unwrap();
        assert_eq!(sorted, [table, other, check]);
        assert!(matches!(&cat.get(check).unwrap().kind, Kind::Constraint(check) if check.separate));
    }

    #[test]
    fn a_loop_that_nothing_explains_is_broken_with_a_warning() {
        let mut cat = catalog();
        let [a, b] = ["a", "b"].map(|name| relation(&mut cat, name, 'r'));
        cat.add_dependency(a, b);
        cat.add_dependency(b, a);
        assert_eq!(sort(&mut cat).unwrap().len(), 2);
        assert_eq!(cat.warnings.len(), 1);
        assert!(cat.warnings[0].text.starts_with("could not resolve dependency loop"));
    }

    #[test]
    fn chains_of_any_length_neither_overflow_nor_take_forever() {
        let mut cat = catalog();
        let ids: Vec<DumpId> = (0..50_000)
            .map(|n| relation(&mut cat, &format!("{n:06}"), 'r'))
            .collect();
        for pair in ids.windows(2) {
            cat.add_dependency(pair[0], pair[1]);
        }
        // One loop at the far end of the chain.
        let last = *ids.last().unwrap();
        cat.add_dependency(last, last);
        let sorted = sort(&mut cat).unwrap();
        assert!(sorted.iter().rev().eq(&ids));
    }

    fn view_with_rule(cat: &mut Catalog, name: &str) -> (DumpId, DumpId) {
        let view = relation(cat, name, 'v');
        let rule = Rule {
            table: view,
            ev_type: '1',
            is_instead: true,
            ..Rule::default()
        };
        let rule = cat.add(CatalogId::default(), "_RETURN", None, Kind::Rule(rule));
        cat.add_dependency(view, rule);
        cat.add_dependency(rule, view);
        (view, rule)
    }
}
