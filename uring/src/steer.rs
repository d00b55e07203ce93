//! Steering: a classic BPF program by which the kernel chooses the listener for a new connection among those that share a port.
//! Source: socket(7), `SO_ATTACH_REUSEPORT_CBPF`; `linux/filter.h`, `SKF_AD_RANDOM`.

use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::AsFd;

/// Most listeners that one program can name, at two instructions each. The kernel takes 4,096 instructions. Source:
/// `linux/bpf_common.h`, `BPF_MAXINSNS`.
const TARGETS_MAX: usize = 2_000;

/// From now on, gives the connections to the group of listeners that `socket` belongs to in equal shares to the listeners
/// `targets`, which are numbered in the order in which they began to listen.
///
/// # Errors
/// `InvalidInput` if there are no targets, or too many. Else the kernel has no such programs for this kind of socket.
pub(crate) fn steer(socket: &impl AsFd, targets: &[u32]) -> io::Result<()> {
    if targets.is_empty() || targets.len() > TARGETS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut program = program(targets);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    Ok(setsockopt(socket, sockopt::AttachReusePortCbpf, &program)?)
}

/// The program: takes a random number modulo the number of targets, and returns the target at that place.
fn program(targets: &[u32]) -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let random = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, random),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, targets.len() as u32),
    ];
    for (place, &target) in (0..).zip(targets) {
        // Skips the return if the number is another one.
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, place));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, target));
    }
    // Programs must end with a return; this one is never reached.
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, targets[0]));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpStream};

    use socket2::{Domain, Type};

    /// Listeners that share a port, and how many of `count` connections each of them gets.
    fn spread(listeners: &[socket2::Socket], count: usize) -> Vec<usize> {
        let address = listeners[0].local_addr().unwrap().as_socket().unwrap();
        let clients: Vec<_> = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
        let spread = listeners
            .iter()
            .map(|listener| {
                let accepted = std::iter::from_fn(|| match listener.accept() {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                    accepted => Some(accepted.unwrap()),
                });
                accepted.count()
            })
            .collect();
        drop(clients);
        spread
    }

    fn group(count: usize) -> Vec<socket2::Socket> {
        let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut group = Vec::new();
        for _ in 0..count {
            let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(128).unwrap();
            address = socket.local_addr().unwrap().as_socket().unwrap();
            group.push(socket);
        }
        group
    }

    #[test]
    fn only_the_targets_get_connections() {
        let group = group(5);
        steer(&group[3], &[1, 4]).unwrap();
        let found = spread(&group, 64);
        assert_eq!([found[0], found[2], found[3]], [0; 3], "{found:?}");
        assert!(found[1] > 0 && found[4] > 0 && found[1] + found[4] == 64, "{found:?}");
        steer(&group[0], &[2]).unwrap();
        assert_eq!(spread(&group, 8), [0, 0, 8, 0, 0], "a second program replaces the first");
    }

    #[test]
    fn as_many_targets_as_promised_can_be_named() {
        let group = group(2);
        let targets: Vec<u32> = (0..TARGETS_MAX as u32).map(|_| 1).collect();
        steer(&group[0], &targets).unwrap();
        assert_eq!(spread(&group, 8), [0, 8]);
        assert_eq!(steer(&group[0], &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
        let more = vec![0; TARGETS_MAX + 1];
        assert_eq!(steer(&group[0], &more).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
