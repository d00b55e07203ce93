//! Values that do not come, or come slowly, hold memory that other values need: others are answered, and the slow ones are
//! refused, once all of them has come after all.

use std::thread;
use std::time::Duration;

use crate::harness::{Client, Server};

const REFUSED: &str = "SERVER_ERROR out of memory storing object";

/// Clients that announce a value of `bytes` each and have sent `sent` of it, or as much as the server takes.
fn uploads(server: &Server, count: usize, bytes: usize, sent: usize) -> Vec<Upload> {
    let begin = |number| {
        let client = server.connect();
        client.stream.set_nonblocking(true).unwrap();
        let head = format!("set upload-{number} 0 0 {bytes}\r\n");
        let rest = [head.as_bytes(), &vec![b'u'; bytes], b"\r\n"].concat();
        let mut upload = Upload { client, rest };
        upload.send(head.len() + sent);
        upload
    };
    (0..count).map(begin).collect()
}

/// A client in the middle of a value.
struct Upload {
    client: Client,
    /// What it has still to send.
    rest: Vec<u8>,
}

impl Upload {
    /// Sends up to `bytes` without waiting for the server.
    fn send(&mut self, mut bytes: usize) {
        use std::io::Write as _;
        while bytes > 0
            && let Ok(count) = self.client.stream.write(&self.rest[..bytes.min(self.rest.len())])
            && count > 0
        {
            self.rest.drain(..count);
            bytes -= count;
        }
    }

    /// Sends the rest; the answer. What follows is understood.
    fn finish(mut self) -> String {
        self.client.stream.set_nonblocking(false).unwrap();
        self.client.send(&self.rest);
        self.client.send(b"mn\r\n");
        let answer = self.client.line();
        assert_eq!(self.client.line(), "MN", "after {answer}");
        answer
    }
}

/// Stores values of `bytes`, one after the other, until three are stored; each is answered.
fn others_are_stored(server: &Server, bytes: usize) {
    const TRIES: usize = 12;
    let value = "l".repeat(bytes);
    let mut client = server.connect();
    let mut stored = 0;
    for number in 0..TRIES {
        match &client.ask(&format!("set other-{number} 0 0 {bytes}\r\n{value}"))[..] {
            "STORED" => {
                assert!(client.get(&format!("other-{number}")).as_ref() == Some(&value));
                stored += 1;
            }
            REFUSED => {}
            answer => panic!("{answer}"),
        }
        if stored == 3 {
            return;
        }
    }
    panic!("{stored} of {TRIES} values are stored");
}

/// 100 clients announced 1 MB each, sent most of it and stopped: all memory for such values was held, and when the slowest
/// were closed after some seconds, the next of them took it. Another's value waited for 45 s. In a store of 8 MB two such
/// clients held all. Those that had to make way were closed in the middle of their values.
#[test]
fn uploads_that_stop_make_way_however_many_they_are() {
    for (rings, flags, count, bytes) in [
        ("4", ["-m", "64", "-I", "1m"], 100, 1_000_000),
        ("1", ["-m", "8", "-I", "1m"], 60, 900_000),
        ("4", ["-m", "16", "-I", "4m"], 20, 3_500_000),
        ("4", ["-m", "8", "-I", "1m"], 600, 12_000),
    ] {
        let server = Server::start_serving(rings, &flags);
        let uploads = uploads(&server, count, bytes, bytes / 10 * 9);
        others_are_stored(&server, bytes / 10 * 9);
        let answers: Vec<_> = uploads.into_iter().map(Upload::finish).collect();
        for answer in &answers {
            assert!(answer == "STORED" || answer == REFUSED, "{answer}");
        }
        assert!(answers.iter().any(|answer| answer == REFUSED), "{flags:?}: nobody has made way");
    }
}

/// Each piece of a value began a new measurement of how fast it came, so that a byte now and then was never slow.
#[test]
fn uploads_that_trickle_make_way() {
    const PAUSE: Duration = Duration::from_millis(200);
    for rings in ["1", "4"] {
        let server = Server::start_serving(rings, &["-m", "64"]);
        let mut uploads = uploads(&server, 60, 1_000_000, 20_000);
        thread::scope(|scope| {
            let others = scope.spawn(|| others_are_stored(&server, 900_000));
            while !others.is_finished() {
                for upload in &mut uploads {
                    upload.send(1);
                }
                thread::park_timeout(PAUSE);
            }
        });
        let answers: Vec<_> = uploads.into_iter().map(Upload::finish).collect();
        assert!(answers.iter().all(|answer| answer == "STORED" || answer == REFUSED), "{answers:?}");
    }
}

/// Half of 30 MB had come fast, and so it was not slow for eight minutes in which no more came: others' large values waited
/// for 13 seconds, and then their connections were closed.
#[test]
fn an_upload_that_stops_half_way_makes_way() {
    let server = Server::start(&["-t", "1", "-m", "64", "-I", "32m"]);
    let mut uploads = uploads(&server, 1, 30_000_000, 0);
    let upload = &mut uploads[0];
    upload.client.stream.set_nonblocking(false).unwrap();
    upload.send(15_000_000);
    others_are_stored(&server, 9_000_000);
    assert_eq!(uploads.remove(0).finish(), REFUSED);
}

/// What makes way is what does not come: a slow client that goes on sending is served.
#[test]
fn an_upload_that_goes_on_is_stored() {
    const PAUSE: Duration = Duration::from_millis(50);
    let server = Server::start(&["-t", "1", "-m", "64"]);
    let mut going = uploads(&server, 1, 800_000, 100_000).remove(0);
    let stopped = uploads(&server, 40, 1_000_000, 900_000);
    thread::scope(|scope| {
        scope.spawn(|| others_are_stored(&server, 900_000));
        while going.rest.len() > 10_000 {
            going.send(10_000);
            thread::park_timeout(PAUSE);
        }
    });
    assert_eq!(going.finish(), "STORED");
    assert_eq!(server.connect().get("upload-0").map(|value| value.len()), Some(800_000));
    drop(stopped);
}
