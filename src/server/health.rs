//! `--health`: checks whether a server answers, for probes in containers that have only this binary.
//!
//! It asks for the server's version, in a process of its own (`memcrsd --health`) with no rings. These replies count as
//! healthy:
//!
//! ```text
//!  text `version` ──► VERSION …                          it serves
//!                 ──► CLIENT_ERROR unauthenticated       it requires a login (-Y)
//!                 ──► a TLS alert                        it requires TLS (-Z)
//!                 ──► closed without a reply ──► binary version ──► its reply: it serves (-B binary, -S)
//! ```

use super::client::{TLS_ALERT, UNAUTHENTICATED, Wire};
use crate::config::{Probe, ProbeTarget};
use crate::logging;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

/// Longest reply that is read, bytes.
const REPLY_BYTES_MAX: usize = 512;
/// The text request. It is as long as a binary header, so that a server that speaks only the binary protocol can see that it is
/// not a packet.
const TEXT: &[u8; 24] = b"version\r\nversion\r\nquit\r\n";
/// A binary version request. Source: protocol-binary.txt, "Version".
const BINARY: [u8; 24] = [0x80, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The start of the reply to [`BINARY`].
const BINARY_REPLY: &[u8] = &[0x81, 0x0b];

/// Runs the check on a thread of its own, and returns a line about the healthy server. Takes no longer than the probe allows,
/// whatever the server, the network or the name resolver does.
///
/// # Errors
/// The server is unhealthy; the error is a line that says why.
pub fn health(probe: &Probe) -> Result<String, String> {
    let (result, results) = mpsc::channel();
    let target = probe.target.clone();
    let body = move || {
        // The receiver may have timed out.
        let _ = result.send(request(&target));
    };
    let line = match std::thread::Builder::new().spawn(body) {
        Err(error) => Err(logging::reason(&error)),
        Ok(_) => results
            .recv_timeout(probe.timeout)
            .unwrap_or_else(|_| Err(format!("no reply within {} s", probe.timeout.as_secs_f64()))),
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

fn request(target: &ProbeTarget) -> Result<String, String> {
    let to_line = |error: io::Error| logging::reason(&error);
    let mut reply = exchange(target, TEXT, |reply| reply.contains(&b'\n')).map_err(to_line)?;
    let first_line = reply.iter().position(|&byte| byte == b'\n').unwrap_or(reply.len());
    reply.truncate(first_line);
    if let Some(version) = reply.strip_prefix(b"VERSION ") {
        return Ok(format!("version {}", version.trim_ascii_end().escape_ascii()));
    }
    if reply.starts_with(UNAUTHENTICATED.as_bytes()) {
        return Ok("asks for a login".to_owned());
    }
    if reply.first() == Some(&TLS_ALERT) {
        return Ok("asks for TLS".to_owned());
    }
    if !reply.is_empty() {
        return Err(format!("answers {}", reply.trim_ascii_end().escape_ascii()));
    }
    let reply = exchange(target, &BINARY, |reply| reply.len() >= BINARY.len()).map_err(to_line)?;
    if reply.starts_with(BINARY_REPLY) {
        return Ok("speaks the binary protocol".to_owned());
    }
    Err("closes the connection".to_owned())
}

/// Sends `question` on a new connection, and reads until `is_whole` is true of the reply, the reply is too long, or the server
/// closes the connection.
fn exchange(target: &ProbeTarget, question: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let mut wire = connect(target)?;
    let mut reply = Vec::new();
    // A server that closes the connection may have sent a reply first.
    let _ = wire.write_all(question);
    let mut chunk = [0; 64];
    while reply.len() < REPLY_BYTES_MAX && !is_whole(&reply) {
        match wire.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => reply.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    /// A server that sends each connection the next of `answers` once it has received something.
    fn server(answers: Vec<Vec<u8>>) -> ProbeTarget {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for reply in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 64]).unwrap();
                stream.write_all(&reply).unwrap();
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
    fn replies_are_classified() {
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
    fn no_server_is_unhealthy() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let target = ProbeTarget::Tcp { host: "127.0.0.1".to_owned(), port };
        assert_eq!(tell(target).unwrap_err(), "unhealthy, Connection refused");
        let target = ProbeTarget::Unix("/nonexistent/socket".to_owned());
        assert_eq!(tell(target).unwrap_err(), "unhealthy, No such file or directory");
    }

    #[test]
    fn silence_times_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = ProbeTarget::Tcp { host: "127.0.0.1".to_owned(), port };
        let line = health(&Probe { target, timeout: Duration::from_millis(50) }).unwrap_err();
        assert_eq!(line, format!("127.0.0.1:{port}: unhealthy, no reply within 0.05 s"));
        drop(listener);
    }
}
