//! What a server answers, whatever the protocol.

/// One reply, or the part of a reply that precedes value bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// A hit; `value_len` bytes and the protocol's tail follow.
    Value { name: Name<'a>, value_len: usize, flags: Option<u32> },
    /// `EN`, or the binary status for key not found.
    Miss,
    /// `END`, `MN`, or the reply to the binary noop: the request is complete.
    End,
    /// `STORED`, `HD`, or a binary success without a value.
    Done,
    /// `DELETED`
    Deleted,
    /// `NOT_FOUND`, `NF`
    NotFound,
    /// An error, with the server's text (binary: the body, or the status).
    Refused(String),
}

/// How a value reply identifies its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// The key itself.
    Key(&'a [u8]),
    /// The opaque that was sent.
    Opaque(u32),
    /// It does not: replies come in order.
    None,
}

/// The server sent something that is not a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Garbage(pub(crate) String);
