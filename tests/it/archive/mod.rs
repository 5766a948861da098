//! The archive formats against the stock tools: they read what we write, we read what they write.

mod damage;
mod stand;

use std::path::Path;
use std::sync::Arc;

use snapback::archive::selection::Selection;
use snapback::archive::{Format, Reader, RestoreOptions, list, plain};

use crate::support::program::{Run, snapback};
use stand::{Stand, assert_same_text, each_version, on, rewrite};

const DATABASE: &str = "odd \"db";

/// Options of pg_dump's plain format, and the same as ours.
fn plain_options(major: u32) -> Vec<(Vec<&'static str>, RestoreOptions)> {
    // A dump of 18 has no statistics unless they are asked for.
    let base = RestoreOptions {
        statistics: false,
        restrict_key: Some("key".to_owned()),
        ..RestoreOptions::default()
    };
    let with = |change: fn(&mut RestoreOptions)| {
        let mut options = base.clone();
        change(&mut options);
        options
    };
    let mut all = vec![
        (vec![], base.clone()),
        (vec!["--clean"], with(|o| o.clean = true)),
        (
            vec!["--clean", "--if-exists"],
            with(|o| (o.clean, o.if_exists) = (true, true)),
        ),
        (vec!["--create"], with(|o| o.create = true)),
        (
            vec!["--create", "--clean", "--if-exists"],
            with(|o| (o.create, o.clean, o.if_exists) = (true, true, true)),
        ),
        (vec!["--no-owner"], with(|o| o.no_owner = true)),
        (vec!["--no-privileges"], with(|o| o.no_privileges = true)),
        (
            vec!["--use-set-session-authorization"],
            with(|o| o.use_set_session_authorization = true),
        ),
        (vec!["--no-tablespaces"], with(|o| o.no_tablespaces = true)),
        (vec!["--no-publications"], with(|o| o.no_publications = true)),
        (vec!["--no-comments"], with(|o| o.no_comments = true)),
        (vec!["--enable-row-security"], with(|o| o.enable_row_security = true)),
        (
            vec!["--data-only", "--disable-triggers", "--superuser=archive_bob"],
            with(|o| {
                o.schema = false;
                o.disable_triggers = true;
                o.superuser = Some("archive_bob".to_owned());
            }),
        ),
        (vec!["--schema-only"], with(|o| o.data = false)),
        (
            vec!["--section=pre-data"],
            with(|o| (o.sections.data, o.sections.post_data) = (false, false)),
        ),
        (
            vec!["--section=post-data"],
            with(|o| (o.sections.data, o.sections.pre_data) = (false, false)),
        ),
    ];
    if major >= 15 {
        all.push((
            vec!["--no-table-access-method"],
            with(|o| o.no_table_access_method = true),
        ));
    }
    if major >= 18 {
        all.push((vec!["--statistics"], with(|o| o.statistics = true)));
        all.push((
            vec!["--statistics-only"],
            with(|o| (o.schema, o.data, o.statistics) = (false, false, true)),
        ));
    }
    all
}

#[test]
fn text_of_an_archive_is_what_pg_dump_prints() {
    each_version(async |stand| {
        for (arguments, options) in plain_options(stand.server.major) {
            // Statistics also change the order of other entries, so each needs its own archive.
            let (name, with): (_, &[&str]) = match (options.statistics, options.schema) {
                (false, _) => ("without", &[]),
                (true, true) => ("statistics", &["--statistics"]),
                (true, false) => ("only", &["--statistics-only"]),
            };
            let path = stand.path(name);
            if !path.exists() {
                std::fs::write(&path, stand.pg_dump(&[&["-Fc"], with].concat())).unwrap();
            }
            let reader = Reader::open(&path).await.unwrap();
            let ours = stand.path("ours.sql");
            rewrite(&reader, &ours, stand.quote(), Format::Plain, "none", &options).await;
            // A schema-only pg_dump does not even ask for what it leaves out; of an archive, more is printed.
            let stock = if arguments == ["--schema-only"] {
                let statistics: &[&str] = if stand.server.major >= 18 {
                    &["--no-statistics"]
                } else {
                    &[]
                };
                let fixed = ["-f", "-", "--restrict-key=key", "--schema-only"];
                stand.pg_restore(&path, &[&fixed, statistics].concat())
            } else {
                stand.pg_dump(&[&["--restrict-key=key"], &arguments[..]].concat())
            };
            let what = format!("{} {arguments:?}", stand.server.major);
            assert_same_text(&std::fs::read(&ours).unwrap(), &stock, &what);
        }
    });
}

/// Selections of pg_restore, and the same as ours.
fn selections(ids: &[i32]) -> Vec<(Vec<String>, Selection)> {
    let name = |name: &str| vec![name.to_owned()];
    let all = Selection::default;
    let list: Vec<_> = ids.iter().rev().step_by(2).copied().collect();
    [
        (
            "--schema=public",
            Selection {
                schemas: name("public"),
                ..all()
            },
        ),
        (
            "--exclude-schema=public",
            Selection {
                exclude_schemas: name("public"),
                ..all()
            },
        ),
        (
            "--table=t",
            Selection {
                tables: name("t"),
                ..all()
            },
        ),
        (
            "--table=mv",
            Selection {
                tables: name("mv"),
                ..all()
            },
        ),
        (
            "--index=t_name_idx",
            Selection {
                indexes: name("t_name_idx"),
                ..all()
            },
        ),
        (
            "--function=f(integer)",
            Selection {
                functions: name("f(integer)"),
                ..all()
            },
        ),
        (
            "--trigger=t missing",
            Selection {
                triggers: name("t missing"),
                ..all()
            },
        ),
        (
            "--use-list",
            Selection {
                list: Some(list),
                ..all()
            },
        ),
    ]
    .map(|(option, selection)| (name(option), selection))
    .to_vec()
}

#[test]
fn a_selection_of_an_archive_is_what_pg_restore_selects() {
    each_version(async |stand| {
        let statistics: &[&str] = if stand.server.major >= 18 {
            &["--statistics"]
        } else {
            &[]
        };
        let path = stand.path("selected");
        std::fs::write(&path, stand.pg_dump(&[&["-Fc"], statistics].concat())).unwrap();
        let reader = Reader::open(&path).await.unwrap();
        let ids: Vec<i32> = reader.entries().iter().map(|entry| entry.dump_id).collect();
        for (mut arguments, selection) in selections(&ids) {
            if let Some(list) = &selection.list {
                let lines: Vec<String> = list.iter().map(|id| format!("{id}; of the list")).collect();
                std::fs::write(stand.path("list"), lines.join("\n")).unwrap();
                arguments = vec!["-L".to_owned(), stand.path("list").display().to_string()];
            }
            let options = RestoreOptions {
                restrict_key: Some("key".to_owned()),
                selection,
                ..RestoreOptions::default()
            };
            let ours = stand.path("ours.sql");
            rewrite(&reader, &ours, stand.quote(), Format::Plain, "none", &options).await;
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let stock = stand.pg_restore(&path, &[&["-f", "-", "--restrict-key=key"], &arguments[..]].concat());
            let what = format!("{} {arguments:?}", stand.server.major);
            assert_same_text(&std::fs::read(&ours).unwrap(), &stock, &what);
        }
    });
}

#[test]
fn stock_pg_restore_reads_what_we_write() {
    each_version(async |stand| {
        let stock_path = stand.path("stock");
        std::fs::write(&stock_path, stand.pg_dump(&["-Fc"])).unwrap();
        let stock_text = stand.pg_restore(&stock_path, &["-f", "-"]);
        let stock_list = stand.pg_restore(&stock_path, &["-l"]);
        let reader = Reader::open(&stock_path).await.unwrap();
        let options = RestoreOptions {
            create: true,
            ..RestoreOptions::default()
        };
        for (format, compression) in forms(stand.server.major) {
            let what = format!("{} {format:?} {compression}", stand.server.major);
            let path = stand.path(&format!("{format:?}-{compression}"));
            rewrite(&reader, &path, stand.quote(), format, compression, &options).await;
            assert_same_text(&stand.pg_restore(&path, &["-f", "-"]), &stock_text, &what);
            let list = stand.pg_restore(&path, &["-l"]);
            assert_eq!(list_entries(&list), list_entries(&stock_list), "{what}");
            let verify = Reader::open(&path).await.unwrap();
            assert_eq!(verify.entries(), reader.entries(), "{what}");
        }
    });
}

/// The forms that pg_restore of a version reads.
fn forms(major: u32) -> Vec<(Format, &'static str)> {
    let mut forms = vec![(Format::Tar, "none")];
    for format in [Format::Custom, Format::Directory] {
        forms.extend([(format, "none"), (format, "gzip"), (format, "gzip:1")]);
        if major >= 16 {
            forms.extend([(format, "lz4"), (format, "zstd"), (format, "zstd:level=1,long")]);
        }
    }
    forms
}

fn list_entries(list: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(list);
    text.lines()
        .filter(|line| !line.starts_with(';'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn stock_pg_restore_loads_what_we_write_with_two_jobs() {
    each_version(async |stand| {
        let stock_path = stand.path("stock");
        std::fs::write(&stock_path, stand.pg_dump(&["-Fc"])).unwrap();
        let reader = Reader::open(&stock_path).await.unwrap();
        let options = RestoreOptions {
            create: true,
            ..RestoreOptions::default()
        };
        let compressions: &[&str] = if stand.server.major >= 16 {
            &["gzip", "lz4", "zstd"]
        } else {
            &["gzip"]
        };
        for compression in compressions {
            let path = stand.path(compression);
            rewrite(&reader, &path, stand.quote(), Format::Custom, compression, &options).await;
            let target = format!("restored_{compression}");
            stand.server.create_database(&target);
            let mut restore = stand.server.tool("pg_restore");
            restore
                .args(stand.server.connection_args(&target))
                .arg("-j2")
                .arg(&path);
            Run::of(&mut restore).ok();
            let rows = "SELECT count(*) || ' ' || md5(string_agg(t::text, '' ORDER BY id)) FROM t";
            let objects = "SELECT string_agg(md5(lo_get(oid)), ' ' ORDER BY oid) FROM pg_largeobject_metadata";
            for query in [rows, objects] {
                let wanted = stand.server.psql("dbname='odd \"db'", query);
                assert_eq!(stand.server.psql(&target, query), wanted);
            }
        }
    });
}

#[test]
fn we_read_what_stock_pg_dump_writes() {
    each_version(async |stand| {
        let plain = stand.pg_dump(&["--restrict-key=key"]);
        let options = RestoreOptions {
            statistics: false,
            restrict_key: Some("key".to_owned()),
            ..RestoreOptions::default()
        };
        for (format, compression) in forms(stand.server.major) {
            let path = stand.path(&format!("{format:?}-{compression}"));
            let letter = match format {
                Format::Custom => "-Fc",
                Format::Directory => "-Fd",
                _ => "-Ft",
            };
            let compress = match compression {
                "none" => vec!["-Z0"],
                "gzip" => vec![],
                "gzip:1" => vec!["-Z1"],
                other => vec!["-Z", other],
            };
            let file = path.to_str().unwrap();
            stand.pg_dump(&[&[letter, "-f", file], &compress[..]].concat());
            check_reading(&stand, &path, &plain, &options).await;
        }
        // Written to a pipe, a custom archive has no offsets, and blocks must be looked for.
        let path = stand.path("piped");
        std::fs::write(&path, stand.pg_dump(&["-Fc"])).unwrap();
        check_reading(&stand, &path, &plain, &options).await;
    });
}

async fn check_reading(stand: &Stand, path: &Path, plain: &[u8], options: &RestoreOptions) {
    let reader = Reader::open(path).await.unwrap();
    assert_eq!(reader.header().database, DATABASE);
    let text = stand.path("text");
    rewrite(&reader, &text, stand.quote(), Format::Plain, "none", options).await;
    assert_same_text(&std::fs::read(&text).unwrap(), plain, &path.display().to_string());
    for (arguments, verbose) in [(&["-l"][..], false), (&["-l", "-v"], true)] {
        let listed = RestoreOptions {
            verbose,
            ..RestoreOptions::default()
        };
        let ours = list::render(reader.header(), &reader.facts(), reader.entries(), &listed);
        let stock = stand.pg_restore(path, arguments);
        let strip = |list: &[u8]| -> Vec<String> {
            let text = String::from_utf8_lossy(list).into_owned();
            // How the moment is written depends on the time zone, and what compression is called on the version.
            let is_kept =
                |line: &&str| !line.starts_with("; Archive created") && !line.starts_with(";     Compression");
            text.lines().filter(is_kept).map(str::to_owned).collect()
        };
        assert_eq!(strip(&ours), strip(&stock), "{}", path.display());
    }
}

#[test]
fn the_script_of_a_tar_archive_is_stock() {
    let script = |path: &Path| {
        let mut tar = std::process::Command::new("tar");
        let output = tar.arg("-xOf").arg(path).arg("restore.sql").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    each_version(async |stand| {
        let stock = stand.path("stock.tar");
        std::fs::write(&stock, stand.pg_dump(&["-Ft"])).unwrap();
        let ours = stand.path("ours.tar");
        let args = stand.server.connection_args(DATABASE);
        Run::of(snapback().arg("dump").args(args).args(["-Ft", "-f"]).arg(&ours)).ok();
        let (ours, stock) = (script(&ours), script(&stock));
        assert_same_text(&ours, &stock, "restore.sql");
        // The keys differ; whether there are any depends on the minor release. Before there were, the stock script
        // had lines with the key `(null)`, which no psql takes.
        let is_key = |line: &&str| line.starts_with("\\restrict ") && !line.ends_with(" (null)");
        let restricted = |script: &[u8]| String::from_utf8_lossy(script).lines().filter(is_key).count();
        assert_eq!(restricted(&ours), restricted(&stock));
    });
}

#[test]
fn a_compressed_plain_dump_is_a_file_that_gunzip_reads() {
    on(15, async |stand| {
        let stock = stand.path("stock");
        std::fs::write(&stock, stand.pg_dump(&["-Fc"])).unwrap();
        let reader = Reader::open(&stock).await.unwrap();
        let options = RestoreOptions::default();
        let (gz, text) = (stand.path("ours.sql.gz"), stand.path("ours.sql"));
        rewrite(&reader, &gz, stand.quote(), Format::Plain, "gzip", &options).await;
        rewrite(&reader, &text, stand.quote(), Format::Plain, "none", &options).await;
        let output = std::process::Command::new("gunzip")
            .arg("-c")
            .arg(&gz)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == std::fs::read(&text).unwrap());
    });
}

#[test]
fn one_entry_has_the_statements_that_a_restore_runs() {
    on(15, async |stand| {
        let stock = stand.path("stock");
        std::fs::write(&stock, stand.pg_dump(&["-Fc"])).unwrap();
        let reader = Reader::open(&stock).await.unwrap();
        let entries = Arc::clone(reader.entries());
        let view = entries.iter().position(|entry| entry.desc == "VIEW").unwrap();
        let options = RestoreOptions {
            comments: false,
            ..RestoreOptions::default()
        };
        let mut script = plain::Script::new(entries, options, stand.quote());
        let text = String::from_utf8(script.definition(view).to_vec()).unwrap();
        assert!(text.starts_with("CREATE VIEW public.v AS"), "{text}");
        assert!(
            text.ends_with("ALTER TABLE public.v OWNER TO archive_bob;\n\n"),
            "{text}"
        );
    });
}
