//! Logins: -Y in the text protocol and -S in the binary one, with real password files.

use std::fs;
use std::io::Write;

use nix::sys::signal::Signal;

use crate::harness::{Client, Dialect, Server, TempDir, dialect, program, wait_until};

const USERS: &str = "luser:lpass\nuser2:pass2\n";

/// A server that asks for a login in the text protocol.
fn ascii_server() -> Server {
    let dir = TempDir::new();
    fs::write(dir.path().join("users"), USERS).unwrap();
    let file = dir.path().join("users").display().to_string();
    Server::start_program(program(), &["-Y", &file], dir)
}

fn login(client: &mut Client, token: &str) -> String {
    client.ask(&format!("set auth 0 0 {}\r\n{token}", token.len()))
}

#[test]
fn text_logins_are_counted() {
    let server = ascii_server();
    let mut client = server.connect();
    assert_eq!(client.ask("version"), "CLIENT_ERROR unauthenticated");
    assert_eq!(login(&mut client, "luser wrong"), "CLIENT_ERROR authentication failure");
    assert_eq!(login(&mut client, "nobody lpass"), "CLIENT_ERROR authentication failure");
    assert_eq!(login(&mut client, "luser pass2"), "CLIENT_ERROR authentication failure");
    assert_eq!(login(&mut client, "luser lpass"), "STORED");
    assert_eq!(client.count("auth_cmds"), 4);
    assert_eq!(client.count("auth_errors"), 3);
    assert_eq!(client.ask("get auth"), "END", "a login stores nothing");
}

/// -S with -Y asks for the login of -Y: the combination was refused, although memcached accepts it.
#[test]
fn a_text_login_goes_before_sasl() {
    let dir = TempDir::new();
    let users = dir.path().join("users");
    fs::write(&users, USERS).unwrap();
    // memcached looks for SASL's files even so.
    fs::write(dir.path().join("memcached.conf"), "mech_list: plain\n").unwrap();
    let (users, conf) = (users.display().to_string(), dir.path().display().to_string());
    let environment = [("MEMCACHED_SASL_PWDB", &*users), ("SASL_CONF_PATH", &*conf)];
    let server = Server::start_with(program(), &["-S", "-Y", &users], dir, &environment);
    let mut client = server.connect();
    assert_eq!(client.ask("version"), "CLIENT_ERROR unauthenticated");
    assert_eq!(login(&mut client, "luser lpass"), "STORED");
    assert_eq!(client.ask("get a"), "END");
}

/// -Y is for the text protocol: packets are parsed as lines.
#[test]
fn no_packet_gets_around_a_text_login() {
    let server = ascii_server();
    let mut client = server.connect();
    client.send(&Packets::packet(VERSION, "", b""));
    client.send(b"\n");
    assert_eq!(client.line(), "CLIENT_ERROR unauthenticated");
}

/// An incomplete line may have 2048 bytes; with one more the connection is closed.
#[test]
fn endless_lines_before_a_login_close() {
    let server = ascii_server();
    let mut client = server.connect();
    client.send(&[b'x'; 2048]);
    client.send(b"\r\n");
    assert_eq!(client.line(), "CLIENT_ERROR unauthenticated");
    client.send_lossy(&[b'x'; 2049]);
    assert_eq!(client.read_to_end(), b"");
}

/// HUP reloads the file: new users can log in, removed ones cannot, open connections stay; an invalid or missing file
/// changes nothing.
#[test]
fn hup_reloads_the_users() {
    let mut server = ascii_server();
    let file = server.dir.path().join("users");
    let mut inside = server.connect();
    assert_eq!(login(&mut inside, "luser lpass"), "STORED");
    let mut outside = server.connect();

    fs::write(&file, "new:word\n").unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the new user may log in", || login(&mut outside, "new word") == "STORED");
    assert_eq!(inside.ask("get a"), "END", "who is in stays");
    assert_eq!(login(&mut server.connect(), "luser lpass"), "CLIENT_ERROR authentication failure");

    fs::write(&file, "no colon\n").unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the server complains", || !server.stderr().is_empty());
    assert_eq!(login(&mut server.connect(), "new word"), "STORED");
    if dialect() == Dialect::Memcrsd {
        assert!(
            server.stderr().contains("has a malformed entry. Should be 'user:password'"),
            "{}",
            server.stderr()
        );
    }

    fs::remove_file(&file).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the server complains", || server.stderr().contains("Could not open authfile"));
    assert_eq!(login(&mut server.connect(), "new word"), "STORED");
}

/// The binary protocol, as far as logins need it.
struct Packets(Client);

/// Status and body of a reply.
type Answer = (u16, String);

impl Packets {
    fn connect(server: &Server) -> Self {
        Self(server.connect())
    }

    fn packet(opcode: u8, key: &str, value: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, opcode];
        packet.extend_from_slice(&(key.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&((key.len() + value.len()) as u32).to_be_bytes());
        packet.extend_from_slice(&[0; 12]);
        packet.extend_from_slice(key.as_bytes());
        packet.extend_from_slice(value);
        packet
    }

    fn ask(&mut self, opcode: u8, key: &str, value: &[u8]) -> Answer {
        self.0.send(&Self::packet(opcode, key, value));
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let head = self.0.read_exact(24);
        let status = u16::from_be_bytes([head[6], head[7]]);
        let bytes = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        (status, String::from_utf8(self.0.read_exact(bytes)).unwrap())
    }

    fn login(&mut self, user: &str, password: &str) -> Answer {
        self.ask(AUTH, "PLAIN", format!("\0{user}\0{password}").as_bytes())
    }

    /// The value of a statistic.
    fn stat(&mut self, group: &str, name: &str) -> String {
        self.0.send(&Self::packet(STAT, group, b""));
        let mut found = None;
        loop {
            let head = self.0.read_exact(24);
            let key_bytes = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let bytes = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
            let body = String::from_utf8(self.0.read_exact(bytes)).unwrap();
            if bytes == 0 {
                return found.unwrap_or_else(|| panic!("no {name}"));
            }
            if &body[..key_bytes] == name {
                found = Some(body[key_bytes..].to_owned());
            }
        }
    }
}

const NOOP: u8 = 0x0a;
const VERSION: u8 = 0x0b;
const STAT: u8 = 0x10;
const LIST: u8 = 0x20;
const AUTH: u8 = 0x21;
const STEP: u8 = 0x22;
const REFUSED: u16 = 0x20;

/// A server that asks for a login in the binary protocol, with this password file; `None` if the program under test uses
/// another SASL implementation.
fn sasl_server(users: &str) -> Option<Server> {
    if dialect() == Dialect::Memcached {
        // Debian's memcached has Cyrus SASL, which stores its users elsewhere.
        return None;
    }
    let dir = TempDir::new();
    let file = dir.path().join("sasl.pwdb");
    fs::write(&file, users).unwrap();
    Some(Server::start_with(program(), &["-S"], dir, &[("MEMCACHED_SASL_PWDB", file.to_str().unwrap())]))
}

#[test]
fn sasl_accepts_only_the_right_password() {
    let Some(server) = sasl_server("joe:secret\nann:pass:realm\n") else { return };
    let mut client = Packets::connect(&server);
    assert_eq!(client.ask(LIST, "", b""), (0, "PLAIN".to_owned()));
    assert_eq!(client.ask(VERSION, "", b"").0, 0);
    let refused = (REFUSED, "Auth failure.".to_owned());
    assert_eq!(client.login("joe", "wrong"), refused);
    assert_eq!(client.login("nobody", "secret"), refused);
    assert_eq!(client.login("", ""), refused);
    assert_eq!(client.ask(AUTH, "CRAM-MD5", b"x"), refused);
    assert_eq!(client.ask(AUTH, "PLAIN", b"no zeros"), refused);
    assert_eq!(client.ask(AUTH, &"x".repeat(33), b""), (4, "Invalid arguments".to_owned()));
    assert_eq!(client.ask(STEP, "PLAIN", b"\0joe\0wrong"), refused, "the connection is still open");
    assert_eq!(client.login("joe", "secret"), (0, "Authenticated".to_owned()));
    assert_eq!(client.ask(NOOP, "", b"").0, 0);
    assert_eq!(client.stat("settings", "auth_enabled_sasl"), "yes");
    assert_eq!(client.stat("settings", "binding_protocol"), "binary");
    assert_eq!(client.stat("", "auth_errors"), "6");
    assert_eq!(client.stat("", "auth_cmds"), "7");
    let mut other = Packets::connect(&server);
    assert_eq!(other.login("ann", "pass").0, 0, "what is behind a second colon is not the password's");
    let mut authzid = Packets::connect(&server);
    assert_eq!(authzid.ask(AUTH, "PLAIN", b"joe\0joe\0secret").0, 0);
}

/// Everything but the login and `version` is refused and closes the connection, whatever follows.
#[test]
fn sasl_serves_nothing_before_the_login() {
    let Some(server) = sasl_server("joe:secret\n") else { return };
    for opcode in [0x00, 0x01, 0x04, 0x05, 0x07, 0x08, NOOP, 0x0e, STAT, 0x1c, 0x1d] {
        let mut client = Packets::connect(&server);
        // Well-formed: a key, and the extras or the value of the opcode.
        let (extras, key) = match opcode {
            0x00 | 0x04 | 0x0e => (0, "k"),
            0x01 => (8, "k"),
            0x05 => (20, "k"),
            0x1c | 0x1d => (4, "k"),
            _ => (0, ""),
        };
        let mut packet = Packets::packet(opcode, key, &vec![0; extras]);
        packet[4] = extras as u8;
        packet.truncate(24);
        packet.extend_from_slice(&vec![0; extras]);
        packet.extend_from_slice(key.as_bytes());
        packet.extend(Packets::packet(AUTH, "PLAIN", b"\0joe\0secret"));
        client.0.send_lossy(&packet);
        assert_eq!(client.answer(), (REFUSED, "Auth failure.".to_owned()), "{opcode:#x}");
        assert_eq!(client.0.read_to_end(), b"", "{opcode:#x}");
    }
    let mut text = server.connect();
    text.send_lossy(b"get a\r\nget b\r\nget c\r\nget d\r\n");
    assert_eq!(text.read_to_end(), b"", "there is no text protocol");
}

#[test]
fn a_sasl_login_may_be_split_anywhere() {
    let Some(server) = sasl_server("joe:secret\n") else { return };
    let mut client = Packets::connect(&server);
    let mut sent = Packets::packet(AUTH, "PLAIN", b"\0joe\0secret");
    sent.extend(Packets::packet(NOOP, "", b""));
    for byte in sent {
        client.0.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(client.answer(), (0, "Authenticated".to_owned()));
    assert_eq!(client.answer().0, 0);
    let mut long = Packets::connect(&server);
    assert_eq!(long.ask(AUTH, "PLAIN", &vec![b'x'; 100_000]).0, REFUSED, "no login is that long");
    assert_eq!(long.login("joe", "secret").0, 0);
}

#[test]
fn hup_reloads_the_sasl_users() {
    let Some(mut server) = sasl_server("joe:secret\n") else { return };
    fs::write(server.dir.path().join("sasl.pwdb"), "ann:other\n").unwrap();
    server.signal(Signal::SIGHUP);
    let mut client = Packets::connect(&server);
    wait_until("the new user may log in", || client.login("ann", "other").0 == 0);
    assert_eq!(Packets::connect(&server).login("joe", "secret").0, REFUSED);
}
