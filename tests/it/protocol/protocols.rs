//! One command, three protocols: the same outcome in text, binary and meta.
//!
//! Each row gives the content of the store, the command and its reply in each protocol, and what `get` returns afterwards.

use crate::harness::packets;
use crate::harness::pattern::{Pattern, Vars};
use crate::harness::{Client, Server, show};

struct Row {
    what: &'static str,
    /// The value of `key` before, if present.
    before: Option<&'static str>,
    text: [&'static str; 2],
    binary: [&'static str; 2],
    meta: [&'static str; 2],
    /// The value of `key` after, if present.
    after: Option<&'static str>,
}

const ROWS: &[Row] = &[
    Row {
        what: "set stores what is not there",
        before: None,
        text: ["set key 0 0 3\r\nnew", "STORED"],
        binary: ["set key=key value=new", "set ok cas=new"],
        meta: ["ms key 3\r\nnew", "HD"],
        after: Some("new"),
    },
    Row {
        what: "set replaces what is there",
        before: Some("old"),
        text: ["set key 0 0 3\r\nnew", "STORED"],
        binary: ["set key=key value=new", "set ok cas=new"],
        meta: ["ms key 3 MS\r\nnew", "HD"],
        after: Some("new"),
    },
    Row {
        what: "add stores what is not there",
        before: None,
        text: ["add key 0 0 3\r\nnew", "STORED"],
        binary: ["add key=key value=new", "add ok cas=new"],
        meta: ["ms key 3 ME\r\nnew", "HD"],
        after: Some("new"),
    },
    Row {
        what: "add leaves what is there",
        before: Some("old"),
        text: ["add key 0 0 3\r\nnew", "NOT_STORED"],
        binary: ["add key=key value=new", "add exists"],
        meta: ["ms key 3 ME\r\nnew", "NS"],
        after: Some("old"),
    },
    Row {
        what: "replace needs something",
        before: None,
        text: ["replace key 0 0 3\r\nnew", "NOT_STORED"],
        binary: ["replace key=key value=new", "replace not_found"],
        meta: ["ms key 3 MR\r\nnew", "NS"],
        after: None,
    },
    Row {
        what: "replace replaces",
        before: Some("old"),
        text: ["replace key 0 0 3\r\nnew", "STORED"],
        binary: ["replace key=key value=new", "replace ok cas=new"],
        meta: ["ms key 3 MR\r\nnew", "HD"],
        after: Some("new"),
    },
    Row {
        what: "append appends",
        before: Some("old"),
        text: ["append key 0 0 3\r\nnew", "STORED"],
        binary: ["append key=key value=new", "append ok cas=new"],
        meta: ["ms key 3 MA\r\nnew", "HD"],
        after: Some("oldnew"),
    },
    Row {
        what: "append needs something",
        before: None,
        text: ["append key 0 0 3\r\nnew", "NOT_STORED"],
        binary: ["append key=key value=new", "append not_stored"],
        meta: ["ms key 3 MA\r\nnew", "NS"],
        after: None,
    },
    Row {
        what: "prepend prepends",
        before: Some("old"),
        text: ["prepend key 0 0 3\r\nnew", "STORED"],
        binary: ["prepend key=key value=new", "prepend ok cas=new"],
        meta: ["ms key 3 MP\r\nnew", "HD"],
        after: Some("newold"),
    },
    Row {
        what: "cas on a missing key",
        before: None,
        text: ["cas key 0 0 3 123456789\r\nnew", "NOT_FOUND"],
        binary: ["set key=key value=new cas=123456789", "set not_found"],
        meta: ["ms key 3 C123456789\r\nnew", "NF"],
        after: None,
    },
    Row {
        what: "cas with another number",
        before: Some("old"),
        text: ["cas key 0 0 3 123456789\r\nnew", "EXISTS"],
        binary: ["set key=key value=new cas=123456789", "set exists"],
        meta: ["ms key 3 C123456789\r\nnew", "EX"],
        after: Some("old"),
    },
    Row {
        what: "get of what is there",
        before: Some("old"),
        text: ["get key", "VALUE key 0 3\r\nold\r\nEND"],
        binary: ["get key=key", "get ok flags=0 value=old cas=new"],
        meta: ["mg key v", "VA 3\r\nold"],
        after: Some("old"),
    },
    Row {
        what: "get of what is not there",
        before: None,
        text: ["get key", "END"],
        binary: ["get key=key", "get not_found"],
        meta: ["mg key v", "EN"],
        after: None,
    },
    Row {
        what: "delete of what is there",
        before: Some("old"),
        text: ["delete key", "DELETED"],
        binary: ["delete key=key", "delete ok"],
        meta: ["md key", "HD"],
        after: None,
    },
    Row {
        what: "delete of what is not there",
        before: None,
        text: ["delete key", "NOT_FOUND"],
        binary: ["delete key=key", "delete not_found"],
        meta: ["md key", "NF"],
        after: None,
    },
    Row {
        what: "incr",
        before: Some("41"),
        text: ["incr key 1", "42"],
        binary: ["incr key=key delta=1", "incr ok num=42 cas=new"],
        meta: ["ma key v", "VA 2\r\n42"],
        after: Some("42"),
    },
    Row {
        what: "decr pads",
        before: Some("10"),
        text: ["decr key 1", "9"],
        binary: ["decr key=key delta=1", "decr ok num=9 cas=new"],
        meta: ["ma key v MD", "VA 1\r\n9"],
        after: Some("9 "),
    },
    Row {
        what: "decr stops at 0",
        before: Some("5"),
        text: ["decr key 10", "0"],
        binary: ["decr key=key delta=10", "decr ok num=0 cas=new"],
        meta: ["ma key v MD D10", "VA 1\r\n0"],
        after: Some("0"),
    },
    Row {
        what: "incr of what is not a number",
        before: Some("old"),
        text: ["incr key 1", "CLIENT_ERROR cannot increment or decrement non-numeric value"],
        binary: ["incr key=key delta=1", "incr non_numeric"],
        meta: ["ma key", "CLIENT_ERROR cannot increment or decrement non-numeric value"],
        after: Some("old"),
    },
    Row {
        what: "incr of what is not there",
        before: None,
        text: ["incr key 1", "NOT_FOUND"],
        binary: ["incr key=key delta=1 exptime=0xffffffff", "incr not_found"],
        meta: ["ma key", "NF"],
        after: None,
    },
    Row {
        what: "touch of what is there",
        before: Some("old"),
        text: ["touch key 100", "TOUCHED"],
        binary: ["touch key=key exptime=100", "touch ok flags=0 cas=new"],
        meta: ["mg key T100", "HD"],
        after: Some("old"),
    },
    Row {
        what: "get and touch",
        before: Some("old"),
        text: ["gat 100 key", "VALUE key 0 3\r\nold\r\nEND"],
        binary: ["gat key=key exptime=100", "gat ok flags=0 value=old cas=new"],
        meta: ["mg key T100 v", "VA 3\r\nold"],
        after: Some("old"),
    },
    Row {
        what: "touch of what is not there",
        before: None,
        text: ["touch key 100", "NOT_FOUND"],
        binary: ["touch key=key exptime=100", "touch not_found"],
        meta: ["mg key T100", "EN"],
        after: None,
    },
];

#[test]
fn a_command_means_the_same_in_every_protocol() {
    let server = Server::start(&["-t", "4"]);
    for row in ROWS {
        let text = row.text.map(|part| Pattern::parse(&format!("{part}\r\n")));
        check(&server, row, "text", &text);
        check(&server, row, "binary", &[packets::request(row.binary[0]), packets::response(row.binary[1])]);
        let meta = row.meta.map(|part| Pattern::parse(&format!("{part}\r\n")));
        check(&server, row, "meta", &meta);
    }
}

fn check(server: &Server, row: &Row, protocol: &str, exchange: &[Pattern; 2]) {
    let mut observer = server.connect();
    observer.send(b"delete key\r\n");
    observer.line();
    if let Some(value) = row.before {
        observer.set("key", value);
    }
    let mut client: Client = server.connect();
    let mut sent = Vec::new();
    exchange[0].write(&Vars::new(), &mut sent);
    client.send(&sent);
    if let Err(reason) = exchange[1].read(&mut client, &mut Vars::new()) {
        panic!("{} ({protocol}): {reason}: {}", row.what, show(client.pending()));
    }
    assert_eq!(observer.get("key").as_deref(), row.after, "{} ({protocol})", row.what);
    client.finish();
    assert_eq!(client.read_to_end(), b"", "{} ({protocol})", row.what);
}
