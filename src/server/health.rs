//! `--health`: asks another server whether it answers, for probes of containers that hold nothing but this binary.
//!
//! It is asked for its version. What counts as well:
//!
//! ```text
//!  text `version` ──► VERSION …                          it serves
//!                 ──► CLIENT_ERROR unauthenticated       it serves those who log in (-Y)
//!                 ──► a TLS alert                        it serves those who encrypt (-Z); more is not asked
//!                 ──► closed without a word ──► binary version ──► its reply: it serves (-B binary, -S)
//! ```

use crate::config::{Probe, ProbeTarget};
use crate::log;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

/// Longest answer that is looked at, bytes.
const ANSWER_BYTES_MAX: usize = 512;
/// As long as a binary header, so that a server of the binary protocol alone has enough to see that this is none.
const TEXT: &[u8; 24] = b"version\r\nversion\r\nquit\r\n";
/// A request with opcode 0x0b and nothing else. Source: protocol-binary.txt, "Version".
const BINARY: [u8; 24] = [0x80, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// How the answer to that begins.
const BINARY_ANSWER: &[u8] = &[0x81, 0x0b];
/// The first byte of a TLS alert. Source: RFC 8446, section 5.1.
const TLS_ALERT: u8 = 0x15;

/// Both ways to be connected.
trait Wire: Read + Write {}
impl<W: Read + Write> Wire for W {}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// Asks, and says in a line how it went: `Ok` if the server is well. Takes no longer than the probe allows, whatever the
/// server, the network or the resolver of names do.
///
/// # Errors
/// The line for a server that is not well.
pub fn health(probe: &Probe) -> Result<String, String> {
    let (tell, told) = mpsc::channel();
    let target = probe.target.clone();
    let body = move || {
        // A listener that has given up wants no answer.
        let _ = tell.send(ask(&target));
    };
    let line = match std::thread::Builder::new().spawn(body) {
        Err(error) => Err(log::reason(&error)),
        Ok(_) => told
            .recv_timeout(probe.timeout)
            .unwrap_or_else(|_| Err(format!("no answer within {} s", probe.timeout.as_secs_f64()))),
    };
    match line {
        Ok(line) => Ok(format!("{}: healthy, {line}", probe.target)),
        Err(line) => Err(format!("{}: unhealthy, {line}", probe.target)),
    }
}

fn connect(target: &ProbeTarget) -> io::Result<Box<dyn Wire>> {
    Ok(match target {
        ProbeTarget::Tcp { host, port } => Box::new(TcpStream::connect((host.as_str(), *port))?),
        ProbeTarget::Unix(path) => Box::new(UnixStream::connect(path)?),
    })
}

fn ask(target: &ProbeTarget) -> Result<String, String> {
    let trouble = |error: io::Error| log::reason(&error);
    let mut answer = exchange(target, TEXT, |answer| answer.contains(&b'\n')).map_err(trouble)?;
    let first_line = answer.iter().position(|&byte| byte == b'\n').unwrap_or(answer.len());
    answer.truncate(first_line);
    if let Some(version) = answer.strip_prefix(b"VERSION ") {
        return Ok(format!("version {}", version.trim_ascii_end().escape_ascii()));
    }
    if answer.starts_with(b"CLIENT_ERROR unauthenticated") {
        return Ok("asks for a login".to_owned());
    }
    if answer.first() == Some(&TLS_ALERT) {
        return Ok("asks for TLS".to_owned());
    }
    if !answer.is_empty() {
        return Err(format!("answers {}", answer.trim_ascii_end().escape_ascii()));
    }
    let answer = exchange(target, &BINARY, |answer| answer.len() >= BINARY.len()).map_err(trouble)?;
    if answer.starts_with(BINARY_ANSWER) {
        return Ok("speaks the binary protocol".to_owned());
    }
    Err("closes the connection".to_owned())
}

/// Sends `question` on a connection of its own and reads until the answer is whole, too long, or over.
fn exchange(target: &ProbeTarget, question: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let mut wire = connect(target)?;
    let mut answer = Vec::new();
    // A connection that is closed on us may still have said why.
    let _ = wire.write_all(question);
    let mut chunk = [0; 64];
    while answer.len() < ANSWER_BYTES_MAX && !is_whole(&answer) {
        match wire.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    /// A server that answers each connection in turn with one of `answers`, after the first bytes have come.
    fn server(answers: Vec<Vec<u8>>) -> ProbeTarget {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 64]).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        ProbeTarget::Tcp { host: "127.0.0.1".to_owned(), port }
    }

    fn tell(target: ProbeTarget) -> Result<String, String> {
        let name = format!("{target}: ");
        let strip = |line: String| line.strip_prefix(&name).unwrap().to_owned();
        health(&Probe { target, timeout: Duration::from_secs(30) }).map(strip).map_err(strip)
    }

    #[test]
    fn answers_are_judged() {
        let binary = || [&[0x81, 0x0b], &[0; 22][..]].concat();
        let cases = vec![
            (vec![b"VERSION 1.6.45\r\nVERSION 1.6.45\r\n".to_vec()], Ok("healthy, version 1.6.45")),
            (vec![b"CLIENT_ERROR unauthenticated\r\n".to_vec()], Ok("healthy, asks for a login")),
            (vec![vec![0x15, 3, 3, 0, 2, 2, 10]], Ok("healthy, asks for TLS")),
            (vec![vec![], binary()], Ok("healthy, speaks the binary protocol")),
            (
                vec![b"ERROR Too many open connections\r\n".to_vec()],
                Err("unhealthy, answers ERROR Too many open connections"),
            ),
            (vec![b"VERSIO".to_vec()], Err("unhealthy, answers VERSIO")),
            (vec![vec![], vec![]], Err("unhealthy, closes the connection")),
            (vec![vec![], b"x".to_vec()], Err("unhealthy, closes the connection")),
        ];
        for (answers, expected) in cases {
            let found = tell(server(answers));
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        }
    }

    #[test]
    fn nobody_there_is_unhealthy() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let target = ProbeTarget::Tcp { host: "127.0.0.1".to_owned(), port };
        assert_eq!(tell(target).unwrap_err(), "unhealthy, Connection refused");
        let target = ProbeTarget::Unix("/nonexistent/socket".to_owned());
        assert_eq!(tell(target).unwrap_err(), "unhealthy, No such file or directory");
    }

    #[test]
    fn silence_ends_in_time() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = ProbeTarget::Tcp { host: "127.0.0.1".to_owned(), port };
        let line = health(&Probe { target, timeout: Duration::from_millis(50) }).unwrap_err();
        assert_eq!(line, format!("127.0.0.1:{port}: unhealthy, no answer within 0.05 s"));
        drop(listener);
    }
}
