use super::*;
use crate::engine::postgres::connect::{Dsn, SslMode, TargetSession};
use crate::error::hint_of;

/// Host, port, database, user and password.
fn place(text: &str) -> [String; 5] {
    let dsn = Dsn::parse(text).unwrap_or_else(|error| panic!("{text}: {error:#}"));
    let host = &dsn.hosts[0];
    [
        host.name.clone(),
        host.port.to_string(),
        dsn.database,
        dsn.user,
        dsn.password.map(|it| it.expose().to_owned()).unwrap_or_default(),
    ]
}

#[test]
fn every_framework_s_url_names_the_same_place() {
    for text in [
        "postgresql://ann:s3c@db:5433/shop",
        "POSTGRES://ann:s3c@db:5433/shop",
        "postgresql+psycopg2://ann:s3c@db:5433/shop",
        "postgresql+asyncpg://ann:s3c@db:5433/shop?prepared_statement_cache_size=0",
        "postgresql+psycopg://ann:s3c@db:5433/shop",
        "postgresql+pg8000://ann:s3c@db:5433/shop",
        "postgresql+psycopg2://ann:s3c@/shop?host=db:5433",
        "postgis://ann:s3c@db:5433/shop?conn_max_age=600",
        "pgsql://ann:s3c@db:5433/shop?serverVersion=16&charset=utf8",
        "ecto://ann:s3c@db:5433/shop?pool_size=10",
        "postgres://ann:s3c@db:5433/shop?pool=5&prepared_statements=false&timeout=5000",
        "postgres://ann:s3c@db:5433/shop?pgbouncer=true&connection_limit=1&pool_timeout=20&statement_cache_size=0",
        "jdbc:postgresql://db:5433/shop?user=ann&password=s3c&prepareThreshold=0&reWriteBatchedInserts=true",
        "jdbc:aws-wrapper:postgresql://db:5433/shop?user=ann&password=s3c",
        "r2dbc:pool:postgresql://ann:s3c@db:5433/shop?maxIdleTime=PT60S",
        "Host=db;Port=5433;Username=ann;Password=s3c;Database=shop;Maximum Pool Size=20",
        "Server=db;Port=5433;User Id=ann;Password='s3c';Database=shop;",
        "Driver={PostgreSQL Unicode};Server=db;Port=5433;Uid=ann;Pwd=s3c;Database=shop;",
        "pgsql:host=db;port=5433;dbname=shop;user=ann;password=s3c",
        "dbi:Pg:dbname=shop;host=db;port=5433;user=ann;password=s3c",
        "host=db port=5433 user=ann password=s3c dbname=shop",
        "\"postgresql://ann:s3c@db:5433/shop\"\n",
        "psql 'postgresql://ann:s3c@db:5433/shop'",
    ] {
        assert_eq!(place(text), ["db", "5433", "shop", "ann", "s3c"], "{text}");
    }
    let many = Dsn::parse("postgresql+psycopg2://u@/d?host=one:1&host=two:2").unwrap();
    let hosts: Vec<_> = many.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["one port 1", "two port 2"]);
    // Azure's users have an @ in them, and Java's values may be written with a plus.
    let azure = place("jdbc:postgresql://db:5432/shop?user=ann@server&password=a+b%2B&sslmode=require");
    assert_eq!(azure, ["db", "5432", "shop", "ann@server", "a b+"]);
    assert_eq!(place("postgres://ann:a?b#c:d@db/shop")[4], "a?b#c:d");
    assert_eq!(place("jdbc:postgresql:shop?user=ann")[2], "shop");
}

#[test]
fn what_parameters_mean_is_understood() {
    let mode = |parameters: &str| Dsn::parse(&format!("postgres://u@h/d?{parameters}")).unwrap().tls.mode;
    for (parameters, means) in [
        ("ssl=require", SslMode::Require),
        ("ssl=true", SslMode::Require),
        ("ssl=on", SslMode::Require),
        ("ssl", SslMode::Require),
        ("ssl=verify-full&sslrootcert=x", SslMode::VerifyFull),
        ("ssl=no-verify", SslMode::Require),
        ("sslMode=VERIFY_CA&sslrootcert=x", SslMode::VerifyCa),
        ("ssl-mode=disable", SslMode::Disable),
        ("ssl=false", SslMode::Disable),
        ("ssl=true&sslmode=verify-full&sslrootcert=x", SslMode::VerifyFull),
        ("sslmode=verify-full&ssl=true&sslrootcert=x", SslMode::VerifyFull),
        ("sslmode=require&sslaccept=strict", SslMode::VerifyFull),
        ("sslmode=require&sslaccept=accept_invalid_certs", SslMode::Require),
    ] {
        assert_eq!(mode(parameters), means, "{parameters}");
    }
    let java = Dsn::parse(
        "jdbc:postgresql://h/d?user=u&ApplicationName=shop&connectTimeout=7&targetServerType=preferSecondary&tcpKeepAlive=false",
    );
    let java = java.unwrap();
    assert_eq!(java.application_name.as_deref(), Some("shop"));
    assert_eq!(java.connect_timeout.map(|it| it.as_secs()), Some(7));
    assert_eq!(java.target_session, TargetSession::PreferStandby);
    assert!(!java.keepalives.enabled);
}

#[test]
fn what_is_left_out_is_noted_and_a_schema_is_told() {
    let notes = Dsn::parse("postgres://u@h/d?schema=shop&pgbouncer=true&colour=red")
        .unwrap()
        .notes;
    let is_told = |word: &str| {
        notes
            .iter()
            .any(|note| matches!(note, Note::Told(text) if text.contains(word)))
    };
    assert!(is_told("schema=shop") && is_told("colour"), "{notes:?}");
    assert!(
        notes
            .iter()
            .any(|note| matches!(note, Note::Left(text) if text.contains("pgbouncer"))),
        "{notes:?}"
    );
}

#[test]
fn a_mistyped_option_is_an_error_with_the_nearest_one() {
    for (mistyped, meant) in [
        ("sslmod=require", "sslmode"),
        ("ssl_mode=require", "sslmode"),
        ("conect_timeout=3", "connect_timeout"),
        ("aplication_name=x", "application_name"),
        ("target_session_attr=any", "target_session_attrs"),
        ("chanel_binding=require", "channel_binding"),
    ] {
        for text in [
            format!("postgres://u:s3cr3t@h/d?{mistyped}"),
            format!("postgresql+asyncpg://u:s3cr3t@h/d?{mistyped}"),
            format!("jdbc:postgresql://h/d?user=u&password=s3cr3t&{mistyped}"),
            format!("host=h password=s3cr3t user=u {mistyped}"),
        ] {
            let error = Dsn::parse(&text).unwrap_err();
            let said = format!("{error:#} {}", hint_of(&error).unwrap_or_default());
            assert!(
                said.contains("invalid connection option") && said.contains(&format!("{meant:?}")),
                "{said}"
            );
            assert!(!said.contains("s3cr3t"), "{said}");
        }
    }
    assert!(
        Dsn::parse("postgres://u@h/d?tlsfoo=x").is_err(),
        "what may be about safety is never left out"
    );
    assert!(Dsn::parse("jdbc:postgresql:///d?socketFactory=com.google.X").is_err());
}

#[test]
fn what_is_no_postgresql_is_called_by_its_name() {
    for (text, kind) in [
        ("mysql://u:s3cr3t@h/d", "MySQL"),
        ("mysql2://u:s3cr3t@h/d?pool=5", "MySQL"),
        ("mongodb+srv://u:s3cr3t@h/d", "MongoDB"),
        ("sqlserver://h;user=u;password=s3cr3t", "SQL Server"),
        ("redis://:s3cr3t@h:6379/0", "Redis"),
        ("nosuch://u:s3cr3t@h/d", "nosuch"),
        ("u:s3cr3t@h/d", "scheme"),
        ("postgresql//u:s3cr3t@h/d", "no URL"),
        ("postgresql:/u:s3cr3t@h/d", "no URL"),
    ] {
        for parsed in [Dsn::parse(text).map(|_| ()), params::params(text).map(|_| ())] {
            // libpq takes all that has no `://` for a name.
            let Err(error) = parsed else {
                assert!(!text.contains("://"), "{text}");
                continue;
            };
            let said = format!("{error:#} {}", hint_of(&error).unwrap_or_default());
            assert!(said.contains(kind) && !said.contains("s3cr3t"), "{text}: {said}");
        }
    }
}

#[test]
fn a_password_that_is_not_encoded_is_told_and_not_shown() {
    for text in [
        "postgres://u:s3@cr3t@h/d",
        "postgres://u:s3/cr3t@h/d",
        "postgres://u:12/s3cr3t@h/d",
        "postgres://u:s3cr3t@h@g/d?sslmode=require",
        "postgres://u:s3/cr3t?x=y@h/d",
        "postgresql+asyncpg://u:s3@cr3t@h/d",
    ] {
        for parsed in [Dsn::parse(text).map(|_| ()), params::params(text).map(|_| ())] {
            let Err(error) = parsed else { panic!("{text}") };
            let hint = hint_of(&error).unwrap_or_default();
            assert!(hint.contains("%40") || text.contains('+'), "{text}: {error:#} {hint}");
            let said = format!("{error:#} {hint}");
            assert!(!said.contains("s3") && !said.contains("cr3t"), "{text}: {said}");
        }
    }
    let error = Dsn::parse("host=h password=some s3cr3t=x").unwrap_err();
    assert!(!format!("{error:#}").contains("s3cr3t"), "{error:#}");
    let error = Dsn::parse("postgres://u:s3cr3t%zz@h/d").unwrap_err();
    assert!(hint_of(&error).unwrap_or_default().contains("%25"), "{error:#}");
}
