//! Values on flash over the wire: in order among others, in every protocol, and changed like those in memory.

use std::fmt::Write as _;

use crate::harness::{Client, Dialect, Server, TempDir, dialect};

const KEYS: usize = 2500;
const NUMBERS: usize = 20;

/// Short ones stay in memory, the others do not fit.
fn value(number: usize) -> String {
    let bytes = [50, 2_000, 11_000, 30_000][number % 4];
    format!("{number:09},").repeat(bytes / 10)
}

/// A server most of whose values are on flash, and the folder of its file.
fn tiered(flags: &[&str]) -> (Server, TempDir) {
    let dir = TempDir::new();
    let file = dir.path().join("flash");
    let tier = format!("ext_path={}:64m,ext_page_size=2,ext_wbuf_size=2,ext_recache_rate=0", file.display());
    let server = Server::start(&[&["-t", "1", "-m", "8", "-U", "0", "-o", &tier], flags].concat());
    let mut client = server.connect();
    for number in 0..NUMBERS {
        client.set(&format!("number-{number}"), &format!("{number:<30000}"));
    }
    for number in 0..KEYS {
        client.set(&format!("key-{number}"), &value(number));
    }
    assert!(client.count("extstore_objects_used") > KEYS as u64 / 4);
    (server, dir)
}

/// The keys that are there: short values may have been evicted.
fn present(client: &mut Client) -> Vec<usize> {
    (0..KEYS).filter(|number| client.ask(&format!("mg key-{number} s u")) != "EN").collect()
}

#[test]
fn pipelines_are_answered_in_order_wherever_their_values_are() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for engine in ["uring", "epoll"] {
        let (server, _dir) = tiered(&["--io-engine", engine]);
        let mut client = server.connect();
        let keys = present(&mut client);
        let reads = client.count("get_extstore");
        let (mut requests, mut expected) = (String::new(), String::new());
        for some in keys.chunks(100) {
            requests += "get";
            for number in some {
                let value = value(*number);
                write!(requests, " key-{number} none").unwrap();
                write!(expected, "VALUE key-{number} 0 {}\r\n{value}\r\n", value.len()).unwrap();
            }
            requests += "\r\nmn\r\n";
            expected += "END\r\nMN\r\n";
            for number in some.iter().step_by(7) {
                let value = value(*number);
                write!(requests, "get key-{number}\r\nmg key-{number} s\r\nmg key-{number} k v\r\n").unwrap();
                write!(expected, "VALUE key-{number} 0 {}\r\n{value}\r\nEND\r\n", value.len()).unwrap();
                write!(expected, "HD s{}\r\nVA {} kkey-{number}\r\n{value}\r\n", value.len(), value.len())
                    .unwrap();
            }
        }
        std::thread::scope(|scope| {
            let mut sender = Client::over(client.stream.try_clone().unwrap());
            scope.spawn(move || sender.send(requests.as_bytes()));
            assert!(client.read_exact(expected.len()) == expected.as_bytes(), "{engine}");
        });
        assert!(client.count("get_extstore") > reads + KEYS as u64 / 4);
        assert_eq!(client.count("miss_from_extstore"), 0);
    }
}

fn packet(opcode: u8, key: &str) -> Vec<u8> {
    let mut packet = vec![0x80, opcode, 0, key.len() as u8, 0, 0, 0, 0, 0, 0, 0, key.len() as u8];
    packet.extend_from_slice(&[0; 12]);
    packet.extend_from_slice(key.as_bytes());
    packet
}

#[test]
fn packets_show_them_too() {
    const GETKQ: u8 = 0x0d;
    const NOOP: u8 = 0x0a;
    if dialect() == Dialect::Memcached {
        return;
    }
    let (server, _dir) = tiered(&[]);
    let keys = present(&mut server.connect());
    let mut client = server.connect();
    let mut requests: Vec<u8> =
        keys.iter().flat_map(|number| packet(GETKQ, &format!("key-{number}"))).collect();
    requests.extend(packet(NOOP, ""));
    std::thread::scope(|scope| {
        let mut sender = Client::over(client.stream.try_clone().unwrap());
        scope.spawn(move || sender.send(&requests));
        for number in keys {
            let (key, value) = (format!("key-{number}"), value(number));
            let head = client.read_exact(24);
            assert_eq!((head[1], &head[6..8]), (GETKQ, &[0, 0][..]), "{key}");
            assert_eq!(head[8..12], ((4 + key.len() + value.len()) as u32).to_be_bytes());
            let body = client.read_exact(4 + key.len() + value.len());
            assert!(body[4..] == *format!("{key}{value}").as_bytes(), "{key}");
        }
        assert_eq!(client.read_exact(24)[1], NOOP);
    });
}

#[test]
fn commands_change_them_as_in_memory() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (server, _dir) = tiered(&[]);
    let mut client = server.connect();
    let reads = client.count("get_extstore");
    let (mut requests, mut expected) = (String::new(), String::new());
    for number in 0..NUMBERS {
        write!(requests, "incr number-{number} 5\r\nappend number-{number} 0 0 1\r\n!\r\n").unwrap();
        write!(requests, "ma number-{number} v\r\nprepend number-{number} 0 0 1\r\n?\r\n").unwrap();
        write!(requests, "get number-{number}\r\n").unwrap();
        let (first, second) = (number + 5, number + 6);
        write!(expected, "{first}\r\nSTORED\r\nVA {}\r\n{second}\r\nSTORED\r\n", second.to_string().len())
            .unwrap();
        write!(expected, "VALUE number-{number} 0 30002\r\n?{second:<30001}\r\nEND\r\n").unwrap();
    }
    client.send(requests.as_bytes());
    let answers = client.read_exact(expected.len());
    assert_eq!(String::from_utf8(answers).unwrap(), expected);
    assert!(client.count("get_extstore") > reads);
}
