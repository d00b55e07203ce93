//! UNIX sockets: the file, its owner and mode, and the clients that connect to it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, geteuid};

use super::{as_root, path, run};
use crate::harness::{TempDir, deadline, program, wait_until};

/// Sends a request over a UNIX socket.
fn ask(socket: &str, command: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.write_all(format!("{command}\r\nquit\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_unix_socket_is_created_shared_by_rings_and_kept() {
    let dir = TempDir::new();
    let socket = path(&dir, "socket");
    // A stale socket of a dead server.
    drop(UnixListener::bind(&socket).unwrap());
    let stale = fs::metadata(&socket).unwrap().ino();
    let mut child = Command::new(program())
        .args(as_root(&["-s", &socket, "-a", "0766", "-t", "4"]))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the socket answers", || ask(&socket, "mn").is_some_and(|answer| answer == "MN\r\n"));
    let made = fs::metadata(&socket).unwrap();
    assert!(made.file_type().is_socket());
    assert_ne!((made.ino(), made.ctime_nsec()), (stale, 0));
    assert_eq!(made.permissions().mode() & 0o777, 0o766);
    // One acceptor, four rings: every client sees what another one stores.
    let mut held: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for (number, stream) in held.iter_mut().enumerate() {
        stream.write_all(format!("set k{number} 0 0 1\r\nv\r\n").as_bytes()).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"STORED\r\n");
    }
    for number in 0..8 {
        assert_eq!(
            ask(&socket, &format!("get k{number}")).unwrap(),
            format!("VALUE k{number} 0 1\r\nv\r\nEND\r\n")
        );
    }
    let conns = ask(&socket, "stats conns").unwrap();
    assert!(conns.contains(&format!(":listen_addr unix:{socket}")), "{conns}");
    assert!(conns.contains(":addr ?:<AF 0>"), "{conns}");
    // For the listener itself, the first 26 bytes of the path are shown.
    assert!(conns.contains(&format!(":addr unix:{}\r\n", &socket[..socket.len().min(26)])), "{conns}");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(Path::new(&socket).exists(), "the file stays");
}

/// `idle_timeout` does not apply to UNIX sockets.
#[test]
fn the_idle_timeout_does_not_apply_to_unix_sockets() {
    let dir = TempDir::new();
    let socket = path(&dir, "socket");
    let mut child = Command::new(program())
        .args(as_root(&["-s", &socket, "-t", "1", "-o", "idle_timeout=1"]))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the socket answers", || ask(&socket, "mn").is_some());
    let mut silent = UnixStream::connect(&socket).unwrap();
    silent.set_read_timeout(Some(deadline())).unwrap();
    // The check runs every second: three have passed, and this connection was idle throughout.
    wait_until("it is idle for three seconds", || {
        let conns = ask(&socket, "stats conns").unwrap();
        let idle = conns.split(":state conn_read\r\n").nth(1).and_then(|rest| rest.lines().next());
        idle.is_some_and(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap() >= 3)
    });
    assert!(ask(&socket, "stats").unwrap().contains("STAT idle_kicks 0\r\n"));
    silent.write_all(b"mn\r\n").unwrap();
    let mut answer = [0; 4];
    silent.read_exact(&mut answer).expect("still served");
    assert_eq!(&answer, b"MN\r\n");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_regular_file_in_place_of_the_socket_is_kept() {
    let dir = TempDir::new();
    let file = path(&dir, "file");
    fs::write(&file, "precious").unwrap();
    let output = run(program(), &as_root(&["-s", &file]));
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// With -u the socket belongs to the user, so that its clients can connect.
#[test]
fn a_unix_socket_belongs_to_the_user() {
    if !geteuid().is_root() {
        return;
    }
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let socket = path(&dir, "socket");
    let mut child = Command::new(program()).args(["-u", "nobody", "-s", &socket]).spawn().unwrap();
    wait_until("the socket answers", || ask(&socket, "mn").is_some());
    let nobody = User::from_name("nobody").unwrap().unwrap();
    assert_eq!(Uid::from_raw(fs::metadata(&socket).unwrap().uid()), nobody.uid);
    let _ = child.kill();
    let _ = child.wait();
}
