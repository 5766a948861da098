//! Parameters of connection URLs that are not libpq's but a driver's, a pool's or a framework's, and what each means to us.

use super::params::KEYWORDS;

/// What a parameter means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This option of libpq.
    Option(&'static str),
    /// One more host, maybe with its port.
    Host,
    /// This option of libpq, where the value is a number of seconds.
    Seconds(&'static str),
    /// Whether TLS is wanted, or which `sslmode`.
    Ssl,
    /// Prisma's: whether the certificate must be valid.
    SslAccept,
    /// Which kind of server is wanted, in Java's words.
    TargetServer,
    /// Whether hosts are tried in random order.
    LoadBalance,
    /// Whether TCP keepalives are sent.
    KeepAlive,
    /// The schema that an application works in; a backup is of all.
    Schema,
    /// A socket that only a library in the application can make.
    SocketFactory,
    /// Nothing for us: how the application works with its connections.
    Driver,
}

/// Names of libpq's options in other spellings, without what [`plain`] takes away.
const ALIASES: &[(&str, Meaning)] = &[
    ("username", Meaning::Option("user")),
    ("database", Meaning::Option("dbname")),
    ("db", Meaning::Option("dbname")),
    ("databasename", Meaning::Option("dbname")),
    ("hostname", Meaning::Host),
    ("server", Meaning::Host),
    ("servername", Meaning::Host),
    ("unixsocket", Meaning::Host),
    ("unixsock", Meaning::Host),
    ("socketdir", Meaning::Host),
    ("portnumber", Meaning::Option("port")),
    ("ssl", Meaning::Ssl),
    ("sslmode", Meaning::Ssl),
    ("usessl", Meaning::Ssl),
    ("tls", Meaning::Ssl),
    ("sslrequire", Meaning::Ssl),
    ("sslrequired", Meaning::Ssl),
    ("sslaccept", Meaning::SslAccept),
    ("rootcertificate", Meaning::Option("sslrootcert")),
    ("sslclientcert", Meaning::Option("sslcert")),
    ("sslclientkey", Meaning::Option("sslkey")),
    ("sslcertificate", Meaning::Option("sslcert")),
    ("connecttimeout", Meaning::Seconds("connect_timeout")),
    ("connectiontimeout", Meaning::Seconds("connect_timeout")),
    ("targetservertype", Meaning::TargetServer),
    ("targetsessionattributes", Meaning::TargetServer),
    ("loadbalancehosts", Meaning::LoadBalance),
    ("tcpkeepalive", Meaning::KeepAlive),
    ("keepalivesretries", Meaning::Option("keepalives_count")),
    ("schema", Meaning::Schema),
    ("socketfactory", Meaning::SocketFactory),
    ("cloudsqlinstance", Meaning::SocketFactory),
];

/// Names that ADO.NET and ODBC use besides; elsewhere they would be mistakes.
const SEMICOLON_ALIASES: &[(&str, Meaning)] = &[
    ("userid", Meaning::Option("user")),
    ("uid", Meaning::Option("user")),
    ("pwd", Meaning::Option("password")),
    ("psw", Meaning::Option("password")),
    ("initialcatalog", Meaning::Option("dbname")),
    ("datasource", Meaning::Host),
    ("addr", Meaning::Host),
    ("address", Meaning::Host),
    ("timeout", Meaning::Seconds("connect_timeout")),
];

/// What is about an application's connections only, without what [`plain`] takes away.
const DRIVERS: &str = "
    pgbouncer connectionlimit pooltimeout statementcachesize sockettimeout maxidleconnectionlifetime singleuseconnections
    statementcache queryengine sslidentity uselibpqcompat supa workaround
    serverversion charset encoding persistent driver driverclass driveroptions wrapperclass defaultdbname platformservice
    defaulttableoptions keepreplica keepslave memory logging profiling autocommit
    pool poolsize minpool maxpool poolmin poolmax preparedstatements timeout adapter checkouttimeout reapingfrequency
    idletimeout statementlimit variables minmessages insertreturning advisorylocks migrationspaths schemasearchpath template
    maxconnections minconnections maxage keepalive prewarm poolconfig connectionretries
    connmaxage connhealthchecks atomicrequests disableserversidecursors engine options assumerole serversidebinding
    isolationlevel conn
    asyncfallback preparedstatementcachesize preparedstatementnamefunc executemanymode executemanybatchpagesize
    executemanyvaluespagesize implicitreturning usenativehstore usenativeunicode usenativeuuid serversidecursors
    commandtimeout maxcachedstatementlifetime maxcacheablestatementsize directtls serversettings clientflag preparethreshold
    poolrecycle poolpreping maxoverflow echo poolusefifo nativedatetimes
    sslfactory sslfactoryarg sslhostnameverifier sslpasswordcallback sslresponsetimeout gssresponsetimeout protocolversion
    loggerlevel loggerfile allowencodingchanges logunclosedconnections autosave cleanupsavepoints binarytransfer
    binarytransferenable binarytransferdisable databasemetadatacachefields databasemetadatacachefieldsmib
    preparedstatementcachequeries preparedstatementcachesizemib preferquerymode defaultrowfetchsize logintimeout
    cancelsignaltimeout tcpnodelay unknownlength stringtype kerberosservername jaasapplicationname jaaslogin
    sspiserviceclass usespnego sendbuffersize receivebuffersize maxsendbuffersize maxresultbuffer adaptivefetch
    adaptivefetchminimum adaptivefetchmaximum readonly readonlymode disablecolumnsanitiser assumeminserverversion
    currentschema hostrecheckseconds socketfactoryarg rewritebatchedinserts escapesyntaxcallmode hideunprivilegedobjects
    logservererrordetail quotereturningidentifiers authenticationpluginclassname localsocketaddress xmlfactoryfactory
    groupstartupparameters pemkeyalgorithm wrapperplugins wrapperdialect replication
    ipttypes enableiamauth cloudsqlrefreshstrategy cloudsqladminrooturl
    querytimeout statementtimeout locktimeout idleintransactionsessiontimeout idletransactiontimeout
    connectiontimeoutmillis idletimeoutmillis maxuses maxlifetimeseconds allowexitonidle keepaliveinitialdelaymillis
    max min maxlifetime prepare fetchtypes types transform backoff debug onnotice searchpath timezone datestyle
    intervalstyle defaulttransactionreadonly defaulttransactionisolation synchronouscommit workmem jit
    poolmaxconns poolminconns poolminidleconns poolmaxconnlifetime poolmaxconnlifetimejitter poolmaxconnidletime
    poolhealthcheckperiod defaultqueryexecmode statementcachecapacity descriptioncachecapacity binaryparameters
    disablepreparedbinaryresult krbspn minreadbuffersize maxopenconns maxidleconns connmaxlifetime connmaxidletime parsetime
    preparestatementcachequeries preparedstatementcachequeries lockwaittimeout statementcacheable
    trustservercertificate pooling minimumpoolsize maximumpoolsize minpoolsize maxpoolsize connectionidlelifetime
    connectionpruninginterval connectionlifetime includeerrordetail internalcommandtimeout cancellationtimeout
    maxautoprepare autoprepareminusages readbuffersize writebuffersize socketreceivebuffersize socketsendbuffersize
    noresetonclose persistsecurityinfo enlist servercompatibilitymode convertinfinitydatetime
    loadtableComposites arraynullabilitymode multiplexing writecoalescingbufferthresholdbytes logparameters
    checkcertificaterevocation includerealm tcpkeepalivetime tcpkeepaliveinterval entityadmindatabase entitytemplatedatabase
    databasesource description servertype bytea byteaaslongvarbinary usedeclarefetch fetch maxvarcharsize boolsaschar
    queuetarget queueinterval showsensitivedataonconnectionerror parameters ownershiptimeout disconnectonerrorcodes
    stacktrace migrationlock sockettype socketoptions sslopts log loglevel telemetryprefix
    poolconnectiontimeout poolidletimeout poolreaptimeout initialsize maxsize minsize minidle maxidle maxtotal maxwait
    validationquery testonborrow hikari acquiretimeout acquireincrement leakdetectionthreshold
    applicationtype entities synchronize cache dropschema migrationsrun logger name extra installextensions
    nativeexecutor connectionpoolsize poolmode usepool statementlogging slowquerythreshold
";

/// Parts of names of which no stranger is left out: who asked for more safety must not get less, without a word.
const OF_SAFETY: [&str; 8] = ["ssl", "tls", "cert", "auth", "pass", "gss", "krb", "channel"];

/// A name without what spellings differ in: case, hyphens, underscores, blanks, dots.
pub(super) fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '.'));
    kept.flat_map(char::to_lowercase).collect()
}

/// What a parameter of a URL means, if anybody knows it.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    let plain = plain(name);
    if let Some(known) = libpq(|keyword| keyword == name) {
        return Some(known);
    }
    // `applicationName` and `application-name` are other people's spellings; `ssl_mode` is nobody's.
    let spelt = |keyword: &str| !name.contains('_') && keyword.replace('_', "") == plain;
    alias(ALIASES, &plain, name)
        .or_else(|| libpq(spelt))
        .or_else(|| is_drivers(&plain, name).then_some(Meaning::Driver))
}

/// What a key of a string with semicolons means.
pub(super) fn semicolon_meaning(name: &str) -> Option<Meaning> {
    let plain = plain(name);
    let known = alias(SEMICOLON_ALIASES, &plain, "").or_else(|| alias(ALIASES, &plain, ""));
    known
        .or_else(|| libpq(|keyword| keyword.replace('_', "") == plain))
        .or_else(|| is_drivers(&plain, name).then_some(Meaning::Driver))
}

fn libpq(fits: impl Fn(&str) -> bool) -> Option<Meaning> {
    let (known, _) = KEYWORDS.iter().find(|(keyword, _)| fits(keyword))?;
    Some(match *known {
        "host" => Meaning::Host,
        "sslmode" => Meaning::Ssl,
        known => Meaning::Option(known),
    })
}

fn alias(aliases: &[(&str, Meaning)], plain: &str, name: &str) -> Option<Meaning> {
    let (_, meaning) = aliases.iter().find(|(alias, _)| *alias == plain)?;
    // A misspelt option of libpq is a mistake, not a spelling.
    let misspelt = name.contains('_') && KEYWORDS.iter().any(|(keyword, _)| *keyword == plain);
    (!misspelt).then_some(*meaning)
}

fn is_drivers(plain: &str, name: &str) -> bool {
    let own = name.contains('[') || name.starts_with("x-") || name.starts_with("options.");
    own || DRIVERS
        .split_whitespace()
        .any(|known| known.eq_ignore_ascii_case(plain))
}

/// Whether an unknown parameter may be about who is let in, or who the server must be.
pub(super) fn is_of_safety(name: &str) -> bool {
    let plain = plain(name);
    OF_SAFETY.iter().any(|part| plain.contains(part))
}

/// The `sslmode` that a value means, whatever it is called.
pub(super) fn ssl_mode(value: &str) -> Option<&'static str> {
    Some(match plain(value).as_str() {
        "" | "true" | "1" | "on" | "yes" | "t" | "y" | "require" | "required" | "noverify" => "require",
        "false" | "0" | "off" | "no" | "f" | "n" | "disable" | "disabled" => "disable",
        "allow" => "allow",
        "prefer" | "preferred" => "prefer",
        "verifyca" => "verify-ca",
        "verifyfull" => "verify-full",
        _ => return None,
    })
}

/// The `target_session_attrs` that a value means.
pub(super) fn target_session(value: &str) -> Option<&'static str> {
    Some(match plain(value).as_str() {
        "any" | "preferprimary" | "prefermaster" => "any",
        "primary" | "master" => "primary",
        "secondary" | "slave" | "standby" => "standby",
        "prefersecondary" | "preferslave" | "preferstandby" => "prefer-standby",
        "readwrite" => "read-write",
        "readonly" => "read-only",
        _ => return None,
    })
}

/// Whether a switch is on.
pub(super) fn is_on(value: &str) -> bool {
    !matches!(plain(value).as_str(), "false" | "0" | "off" | "no" | "disable")
}
