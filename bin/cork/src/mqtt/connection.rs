//! From flags to a machine and a place to connect it to.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path, sync::Mutex, time::Duration};

use bytes::Bytes;
use cork_client::{
    Authentication, ConnectError, Direction, Exchange, Options, Packet, PropertiesBuf, Property, PropertyId,
    ProtocolVersion, Publish, QoS, Tls, TlsVersion,
    machine::{Machine, Settings, Will},
};
use cork_packet::validate_name;
use cork_tools::{
    line::Target,
    moment::Moment,
    packets::{debug_lines, describe},
    properties::CommandProperties,
};

use super::{ConnectionArgs, Failure, args::Protocol};

/// Everything a tool needs to run.
pub(crate) struct Setup {
    /// Where to connect.
    pub(crate) target: Target,
    /// The client.
    pub(crate) machine: Machine,
    /// What -D said.
    pub(crate) properties: CommandProperties,
    /// The version that is spoken.
    pub(crate) version: ProtocolVersion,
}

/// The longest wait for a connection and the server's answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// What MQTT can say at most.
const PACKET_BYTES_MAX: u32 = 268_435_460;
/// With this port and no other word about TLS, TLS is meant.
const TLS_PORT: u16 = 8883;

/// Checks the flags and reads the files they name.
pub(crate) fn set_up(args: &ConnectionArgs, default: ProtocolVersion) -> Result<Setup, Failure> {
    refuse_unsupported(args)?;
    let properties = properties(args)?;
    let version = match args.protocol_version {
        _ if !properties.is_empty() => ProtocolVersion::V5,
        None => default,
        Some(Protocol::V5) => ProtocolVersion::V5,
        Some(Protocol::V311) => ProtocolVersion::V311,
        Some(Protocol::V31) => ProtocolVersion::V31,
    };
    let mut options = Options::new(&url(args)).map_err(|error| usage(&error))?;
    if let Some(address) = args.bind {
        options = options.bind(address);
    }
    let parts = options.tls(tls(args)?).into_parts().map_err(|error| Failure::new(error.to_string()))?;
    let mut settings = parts.settings;
    identity(args, version, &mut settings)?;
    session(args, version, &properties, &mut settings)?;
    settings.version = version;
    settings.keep_alive = args.keepalive;
    settings.inflight_max = u16::try_from(args.max_inflight).unwrap_or(u16::MAX);
    settings.inflight_qos2_v311_max = settings.inflight_max;
    settings.topic_aliases = false;
    settings.will = will(args, &properties)?;
    connect_properties(&properties, &mut settings);
    settings.check().map_err(|error| usage(&error))?;
    watch(args, &mut settings);
    let target = Target {
        servers: parts.servers,
        connector: parts.connector,
        timeout: CONNECT_TIMEOUT,
        disconnect: properties.disconnect.clone(),
    };
    Ok(Setup { target, machine: Machine::new(settings), properties, version })
}

fn usage(error: &ConnectError) -> Failure {
    Failure::usage(error.to_string())
}

/// What mosquitto's clients can do and these cannot: better a clear word than a connection that is not what was asked.
fn refuse_unsupported(args: &ConnectionArgs) -> Result<(), Failure> {
    let no = |given: bool, flag: &str, instead: &str| {
        if given { Err(Failure::usage(format!("{flag} is not supported: {instead}"))) } else { Ok(()) }
    };
    no(args.srv, "-S", "look the broker's address up and name it with -h and -p")?;
    no(
        args.proxy.is_some(),
        "--proxy",
        "forward a port through the proxy, as with `ssh -L`, and connect to that",
    )?;
    let psk = args.psk.is_some() || args.psk_identity.is_some();
    no(psk, "--psk", "the TLS library has no pre-shared keys; use certificates (--cafile, --cert, --key)")?;
    no(args.ciphers.is_some(), "--ciphers", "all cipher suites of the TLS library are safe; leave it out")?;
    let engine = args.tls_engine.is_some() || args.tls_engine_kpass_sha1.is_some();
    let keyform = args.keyform.as_deref().is_some_and(|form| form != "pem");
    no(engine || keyform, "--tls-engine", "keys come from PEM files (--key)")
}

fn properties(args: &ConnectionArgs) -> Result<CommandProperties, Failure> {
    let mut properties = CommandProperties::default();
    for words in &args.properties.0 {
        properties.add(words).map_err(|error| Failure::usage(format!("-D {}: {error}", shown(words))))?;
    }
    Ok(properties)
}

/// Words of the command line as a fault names them: a long one by its beginning.
fn shown(words: &[String]) -> String {
    let cut = |word: &String| match word.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}...", &word[..at]),
        None => word.clone(),
    };
    words.iter().map(cut).collect::<Vec<_>>().join(" ")
}

/// Of one word.
const SHOWN_CHARS: usize = 60;

/// The URL for the library.
fn url(args: &ConnectionArgs) -> String {
    if let Some(url) = &args.url {
        return url.clone();
    }
    if let Some(path) = &args.unix {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        return format!("unix://{}", path.display().to_string().replace('%', "%25"));
    }
    let named = args.cafile.is_some() || args.capath.is_some() || args.cert.is_some();
    let secure = named || args.tls || args.tls_use_os_certs || args.port == Some(TLS_PORT);
    let (scheme, port) = if secure { ("mqtts", TLS_PORT) } else { ("mqtt", 1883) };
    let host = if args.host.contains(':') { format!("[{}]", args.host) } else { args.host.clone() };
    format!("{scheme}://{host}:{}", args.port.unwrap_or(port))
}

fn tls(args: &ConnectionArgs) -> Result<Tls, Failure> {
    let unreadable = |error: ConnectError| Failure::new(error.to_string());
    let mut tls = Tls::new();
    if let Some(file) = &args.cafile {
        tls = tls.ca_file(file).map_err(unreadable)?;
    }
    if let Some(folder) = &args.capath {
        for file in certificates(folder)? {
            tls = tls.ca_file(file).map_err(unreadable)?;
        }
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        tls = tls.client_certificate_files(cert, key).map_err(unreadable)?;
    }
    if let Some(protocol) = &args.tls_alpn {
        tls = tls.alpn(protocol.as_str());
    }
    if args.insecure {
        // With an authority to ask, only the name is let pass, as mosquitto's clients do.
        let named = args.cafile.is_some() || args.capath.is_some() || args.tls_use_os_certs;
        tls = if named { tls.dangerously_trust_any_name() } else { tls.dangerously_trust_any_server() };
    }
    Ok(match args.tls_version.as_deref() {
        None => tls,
        Some("tlsv1.2") => tls.only_version(TlsVersion::V1_2),
        Some("tlsv1.3") => tls.only_version(TlsVersion::V1_3),
        Some(other) => {
            return Err(Failure::usage(format!("--tls-version is tlsv1.2 or tlsv1.3, not `{other}`")));
        }
    })
}

/// PEM files of a folder, by name so that the order is always the same.
fn certificates(folder: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let fault = |what: String| Failure::new(format!("--capath {}: {what}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(|error| fault(error.to_string()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "crt" || end == "pem"))
        .collect();
    files.sort();
    if files.is_empty() { Err(fault("there is no file *.crt or *.pem".to_owned())) } else { Ok(files) }
}

fn identity(args: &ConnectionArgs, version: ProtocolVersion, settings: &mut Settings) -> Result<(), Failure> {
    if let Some(user) = &args.username {
        settings.user_name = Some(user.clone());
    }
    if let Some(password) = &args.password {
        settings.password = Some(bytes(password));
    }
    if settings.password.is_some() && settings.user_name.is_none() && !version.is_v5() {
        return Err(Failure::usage("a password needs a user name (-u) before MQTT 5.0".to_owned()));
    }
    settings.client_id = match (&args.id, &args.id_prefix) {
        (Some(id), _) => id.clone(),
        (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
        (None, None) if version.is_v5() => String::new(),
        (None, None) => random_id()?,
    };
    Ok(())
}

/// 3.1 takes 23 characters at most.
fn random_id() -> Result<String, Failure> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| {
        Failure::new(format!("no randomness for a client identifier ({error}); name one with -i"))
    })?;
    Ok(format!("cork-{:016x}", u64::from_le_bytes(random)))
}

fn session(
    args: &ConnectionArgs,
    version: ProtocolVersion,
    properties: &CommandProperties,
    settings: &mut Settings,
) -> Result<(), Failure> {
    let named = args.id.is_some() || args.id_prefix.is_some();
    if args.resume && !named {
        return Err(Failure::usage(
            "-c resumes the session of a client identifier: name it with -i".to_owned(),
        ));
    }
    settings.clean_start = !args.resume;
    if !version.is_v5() {
        return Ok(());
    }
    let from_property = properties.connect.as_properties().session_expiry_interval();
    let default = if args.resume { u32::MAX } else { 0 };
    settings.session_expiry = args.session_expiry.or(from_property).unwrap_or(default);
    if settings.session_expiry == u32::MAX && !named {
        return Err(Failure::usage(
            "a session without end needs a client identifier: name it with -i".to_owned(),
        ));
    }
    Ok(())
}

fn will(args: &ConnectionArgs, properties: &CommandProperties) -> Result<Option<Will>, Failure> {
    let Some(topic) = &args.will_topic else {
        let flag = if args.will_payload.is_some() { "--will-payload" } else { "--will-retain" };
        if args.will_payload.is_some() || args.will_retain {
            return Err(Failure::usage(format!("{flag} needs --will-topic")));
        }
        return Ok(None);
    };
    validate_name(topic).map_err(|error| Failure::usage(format!("--will-topic {topic}: {error}")))?;
    let payload = args.will_payload.as_deref().map(bytes).unwrap_or_default();
    let mut publish = Publish::new(topic.as_str(), payload).qos(qos(args.will_qos)).retain(args.will_retain);
    let mut delay = 0;
    for property in properties.will.as_properties().iter() {
        match property {
            Property::WillDelayInterval(seconds) => delay = seconds,
            other => publish = publish.property(other),
        }
    }
    Ok(Some(Will { publish, delay }))
}

/// A word of the command line as it is: payloads and passwords need not be UTF-8.
pub(crate) fn bytes(word: &OsStr) -> Bytes {
    Bytes::copy_from_slice(word.as_bytes())
}

/// Of 0 to 2, which the parser has checked.
pub(crate) fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// What -D says of CONNECT, over what mosquitto's clients say of themselves: nothing.
fn connect_properties(properties: &CommandProperties, settings: &mut Settings) {
    settings.receive_maximum = u16::MAX;
    settings.max_packet_size = PACKET_BYTES_MAX;
    settings.topic_alias_maximum = 0;
    let given = properties.connect.as_properties();
    for property in given.iter() {
        match property {
            Property::ReceiveMaximum(messages) => settings.receive_maximum = messages,
            Property::MaximumPacketSize(bytes) => settings.max_packet_size = bytes,
            Property::TopicAliasMaximum(aliases) => settings.topic_alias_maximum = aliases,
            Property::AuthenticationMethod(method) => {
                settings.authentication = Some(std::sync::Arc::new(Words {
                    method: method.to_owned(),
                    data: given.authentication_data().map(<[u8]>::to_vec),
                }));
            }
            Property::SessionExpiryInterval(_) | Property::AuthenticationData(_) => {}
            other => settings.properties.push(other),
        }
    }
}

/// Without what a client cannot send by itself: aliases are names for what cork sends in full.
pub(crate) fn publish_properties(properties: &CommandProperties) -> PropertiesBuf {
    let all = properties.publish.as_properties();
    all.iter().filter(|property| property.id() != PropertyId::TopicAlias).collect()
}

/// Enhanced authentication with one word of the user: no method that asks back can succeed.
#[derive(Debug)]
struct Words {
    method: String,
    data: Option<Vec<u8>>,
}

impl Authentication for Words {
    fn method(&self) -> &str {
        &self.method
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(OneWord(self.data.clone()))
    }
}

struct OneWord(Option<Vec<u8>>);

impl Exchange for OneWord {
    fn first(&mut self) -> Option<Vec<u8>> {
        self.0.take()
    }

    fn answer(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Err("the server asks back, and `authentication-data` is all there is to answer with".to_owned())
    }

    fn finish(&mut self, _: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}

/// -d and --packets.
fn watch(args: &ConnectionArgs, settings: &mut Settings) {
    if !args.debug && !args.packets {
        return;
    }
    let (debug, packets, version) = (args.debug, args.packets, settings.version);
    let empty = settings.client_id.is_empty();
    let id = Mutex::new(if empty { "null".to_owned() } else { settings.client_id.clone() });
    settings.observer = Some(std::sync::Arc::new(move |direction, packet: &Packet<'_>| {
        if packets {
            eprintln!("{} {}", Moment::now().time_of_day(), describe(direction, version, packet));
        }
        if !debug {
            return;
        }
        let Ok(mut id) = id.lock() else { return };
        if let (Direction::Received, Packet::ConnAck(connack)) = (direction, packet)
            && let Some(assigned) = connack.properties.assigned_client_identifier()
        {
            assigned.clone_into(&mut id);
        }
        for line in debug_lines(&id, direction, packet) {
            println!("{line}");
        }
    }));
}
