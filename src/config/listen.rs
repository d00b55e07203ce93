//! Listeners: the grammar of `-l`, and name resolution. All functions are pure except [`Endpoint::addresses`], which asks the
//! resolver. The sockets are created in `server::listen`.
//!
//! An element is `[notls:|btls:|mtls:][proto[NAME]:][tag[NAME]:|tag_NAME_:]HOST[:PORT]`. HOST is a name, an IPv4 address,
//! `[IPv6]`, `*`, or an IPv6 address without brackets, which no port may follow.

use super::parts::{Endpoint, ListenSpec, ListenTls, Protocol};
use super::request::{EX_OSERR, StartupError};
use super::values::Config;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

impl Endpoint {
    /// Returns the addresses to bind. The resolver may block on a name server, so call this before any ring runs.
    ///
    /// # Errors
    /// getaddrinfo fails, or the endpoint is a UNIX socket, which has no address.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match self {
            Self::Tcp { host, port } | Self::Udp { host, port } => (host, *port),
            Self::Unix { .. } => return Err(io::Error::other("a unix socket has no address")),
        };
        match host {
            None => Ok([IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
                .map(|any| SocketAddr::new(any, port))
                .to_vec()),
            Some(host) => match (host.as_str(), port).to_socket_addrs() {
                Ok(addresses) => Ok(addresses.collect()),
                Err(error) => Err(io::Error::other(format!("getaddrinfo(): {}", gai_strerror(&error)))),
            },
        }
    }
}

/// Returns `host` without the brackets around an IPv6 address; any other host as it is.
pub fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Returns the resolver's message, without the text that std puts before it.
fn gai_strerror(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// Returns the listeners that `config` asks for.
///
/// With `-s` the only listener is the UNIX socket. Otherwise each element of `-l` listens on TCP and, with `-U`, on UDP.
///
/// # Errors
/// An element does not parse. The message is memcached's, and the exit status is 71, as for a port that is taken.
pub(super) fn specs(config: &Config) -> Result<Vec<ListenSpec>, StartupError> {
    if let Some(path) = &config.socketpath {
        let endpoint = Endpoint::Unix { path: path.clone(), mode: config.access };
        return Ok(vec![ListenSpec { endpoint, protocol: config.protocol, tls: ListenTls::Off, tag: None }]);
    }
    let elements: Vec<&str> = match &config.inter {
        None => vec!["*"],
        Some(list) => list.split([',', ';']).filter(|element| !element.is_empty()).collect(),
    };
    let mut specs = Vec::new();
    for (udp, port) in [(false, config.tcpport), (true, config.udpport)] {
        let Some(port) = port else { continue };
        for &text in &elements {
            let element = Element::parse(text, config.ssl_enabled).map_err(|line| refusal(config, line))?;
            let protocol = protocol(config, &element).map_err(|line| refusal(config, line))?;
            let (host, port) = (element.host.map(str::to_owned), element.port.unwrap_or(port));
            specs.push(ListenSpec {
                endpoint: if udp { Endpoint::Udp { host, port } } else { Endpoint::Tcp { host, port } },
                protocol,
                tls: if udp { ListenTls::Off } else { element.tls },
                tag: element.tag.map(str::to_owned),
            });
        }
    }
    Ok(specs)
}

/// Returns the protocol of a listener. With -Y it is always text, because the binary protocol would bypass the login. `Err` is
/// the message for a listener that asks for binary.
fn protocol(config: &Config, element: &Element<'_>) -> Result<Protocol, String> {
    match element.protocol.unwrap_or(config.protocol) {
        Protocol::Binary if config.auth_file.is_some() => {
            Err("Cannot use binary protocol when ascii authentication enabled".to_owned())
        }
        Protocol::Auto if config.auth_file.is_some() => Ok(Protocol::Ascii),
        protocol => Ok(protocol),
    }
}

fn refusal(config: &Config, line: String) -> StartupError {
    let list = config.inter.as_deref().unwrap_or("*");
    let lines = vec![line, format!("failed to listen on one of interface(s) {list}: Invalid argument")];
    StartupError { lines, status: EX_OSERR }
}

/// A parsed element of `-l`. A `None` means that the element does not contain this part; host `None` also stands for `*`.
#[derive(Debug, PartialEq, Eq)]
struct Element<'a> {
    tls: ListenTls,
    protocol: Option<Protocol>,
    tag: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<u16>,
}

impl<'a> Element<'a> {
    fn parse(text: &'a str, ssl_enabled: bool) -> Result<Self, String> {
        let (tls, rest) = tls_prefix(text, ssl_enabled)?;
        let (protocol, rest) = protocol_prefix(rest)?;
        let (tag, rest) = tag_prefix(rest)?;
        let (host, port) = host_and_port(rest)?;
        let port = port.map(port_number).transpose()?;
        Ok(Self { tls, protocol, tag, host: (host != "*").then_some(host), port })
    }
}

fn tls_prefix(text: &str, ssl_enabled: bool) -> Result<(ListenTls, &str), String> {
    for (name, tls) in [("notls", ListenTls::Off), ("btls", ListenTls::Basic), ("mtls", ListenTls::Mutual)] {
        if let Some(rest) = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')) {
            if !ssl_enabled {
                return Err(format!("'{name}' option is valid only when SSL is enabled"));
            }
            return Ok((tls, rest));
        }
    }
    Ok((if ssl_enabled { ListenTls::On } else { ListenTls::Off }, text))
}

fn protocol_prefix(text: &str) -> Result<(Option<Protocol>, &str), String> {
    let Some((name, rest)) = text.strip_prefix("proto[").and_then(|rest| rest.split_once("]:")) else {
        return Ok((None, text));
    };
    let protocol = match name {
        "ascii" => Protocol::Ascii,
        "binary" => Protocol::Binary,
        "negotiating" => Protocol::Auto,
        "proxy" => return Err("Listener protocol \"proxy\" is not supported by this server".to_owned()),
        _ => return Err(format!("Unknown listener protocol: \"{name}\"")),
    };
    Ok((Some(protocol), rest))
}

fn tag_prefix(text: &str) -> Result<(Option<&str>, &str), String> {
    let found = match text.strip_prefix("tag[") {
        Some(rest) => rest.split_once("]:"),
        None => text.strip_prefix("tag_").and_then(|rest| rest.split_once("_:")),
    };
    let Some((tag, rest)) = found else { return Ok((None, text)) };
    if !(1..=8).contains(&tag.len()) {
        return Err(format!("Listener tags must be between 1 and 8 characters: \"{tag}\""));
    }
    Ok((Some(tag), rest))
}

fn host_and_port(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let bad = || format!("Invalid IPV6 address: \"{text}\"");
        let (host, after) = rest.split_once(']').ok_or_else(bad)?;
        return match after {
            "" => Ok((host, None)),
            after => Ok((host, Some(after.strip_prefix(':').ok_or_else(bad)?))),
        };
    }
    match text.split_once(':') {
        // If there is a second colon, the text is an IPv6 address without brackets.
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        _ => Ok((text, None)),
    }
}

fn port_number(text: &str) -> Result<u16, String> {
    super::number::exact(text)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| format!("Invalid port number: \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &str) -> Result<Element<'_>, String> {
        Element::parse(text, true)
    }

    #[test]
    fn hosts_and_ports_are_parsed() {
        for (text, host, port) in [
            ("127.0.0.1", Some("127.0.0.1"), None),
            ("127.0.0.1:1", Some("127.0.0.1"), Some(1)),
            ("localhost:11212", Some("localhost"), Some(11212)),
            ("[::1]", Some("::1"), None),
            ("[::1]:7", Some("::1"), Some(7)),
            ("::1", Some("::1"), None),
            ("fe80::1:2", Some("fe80::1:2"), None),
            ("*", None, None),
            ("*:9", None, Some(9)),
        ] {
            let element = element(text).unwrap();
            assert_eq!((element.host, element.port), (host, port), "{text}");
            assert_eq!((element.tls, element.protocol, element.tag), (ListenTls::On, None, None));
        }
    }

    #[test]
    fn prefixes_are_parsed() {
        let all = element("mtls:proto[binary]:tag[a]:[::1]:7").unwrap();
        assert_eq!(
            all,
            Element {
                tls: ListenTls::Mutual,
                protocol: Some(Protocol::Binary),
                tag: Some("a"),
                host: Some("::1"),
                port: Some(7)
            }
        );
        assert_eq!(element("notls:h").unwrap().tls, ListenTls::Off);
        assert_eq!(element("btls:h").unwrap().tls, ListenTls::Basic);
        assert_eq!(element("tag_12345678_:h").unwrap().tag, Some("12345678"));
        assert_eq!(element("proto[negotiating]:h").unwrap().protocol, Some(Protocol::Auto));
    }

    #[test]
    fn errors_are_worded_as_by_memcached() {
        for (text, line) in [
            ("127.0.0.1:x", "Invalid port number: \"x\""),
            ("127.0.0.1:", "Invalid port number: \"\""),
            ("127.0.0.1:99999", "Invalid port number: \"99999\""),
            ("[::1", "Invalid IPV6 address: \"[::1\""),
            ("[::1]7", "Invalid IPV6 address: \"[::1]7\""),
            ("tag[]:h", "Listener tags must be between 1 and 8 characters: \"\""),
            ("tag[123456789]:h", "Listener tags must be between 1 and 8 characters: \"123456789\""),
            ("proto[x]:h", "Unknown listener protocol: \"x\""),
        ] {
            assert_eq!(element(text), Err(line.to_owned()), "{text}");
        }
        let plain = Element::parse("notls:h", false);
        assert_eq!(plain, Err("'notls' option is valid only when SSL is enabled".to_owned()));
    }

    #[test]
    fn any_address_is_both_families_and_names_resolve() {
        let any = Endpoint::Tcp { host: None, port: 7 }.addresses().unwrap();
        assert_eq!(any, ["0.0.0.0:7".parse().unwrap(), "[::]:7".parse().unwrap()]);
        let named = Endpoint::Udp { host: Some("localhost".to_owned()), port: 7 }.addresses().unwrap();
        assert!(
            named.iter().all(|address| address.ip().is_loopback() && address.port() == 7)
                && !named.is_empty()
        );
        let unknown = Endpoint::Tcp { host: Some("no name".to_owned()), port: 7 }.addresses().unwrap_err();
        assert_eq!(unknown.to_string(), "getaddrinfo(): Name or service not known");
        assert!(Endpoint::Unix { path: "x".to_owned(), mode: 0o700 }.addresses().is_err());
    }
}
