//! Inputs made to cost memory or time.
//!
//!     hostile
//!
//! prints for each the CPU time a MB and the memory that the connection held at most. It fails
//! beyond the bounds.

#[path = "play/allocator.rs"]
mod allocator;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use allocator::LIVE;
use passive_parser::{Config, Connection, Ending, Exchange, Host, Label, Side};

/// Lines of both directions, 256 pipelined requests, and what an allocator rounds up.
const MOST_MEMORY: usize = 24 * 1024;
/// A generous bound: it is for work that grows faster than its input.
const MOST_MS_A_MB: f64 = 200.0;
const MB: usize = 1_000_000;

struct Nobody;

impl Host for Nobody {
    fn now_ms(&mut self) -> u64 {
        0
    }
    fn is_connected(&mut self) -> bool {
        true
    }
    fn count_exchange(&mut self, _: &Exchange) {}
    fn count_opaque(&mut self) {}
    fn count_bytes(&mut self, _: Side, _: Label, _: u64) {}
}

/// What comes first, and what is then repeated to a MB, by whom and in pieces of which size.
struct Input {
    name: &'static str,
    first: &'static [(Side, &'static str)],
    side: Side,
    repeated: String,
    piece: usize,
}

fn main() {
    let config =
        Config::from_text(configuration().as_bytes()).expect("the configuration can be read");
    for input in inputs() {
        let (ms, memory) = measure(&input, &config);
        println!("{:<46} {:>7.2} ms a MB {:>7} bytes held", input.name, ms, memory);
        assert!(memory <= MOST_MEMORY, "{}: holds too much", input.name);
        assert!(ms <= MOST_MS_A_MB, "{}: takes too long", input.name);
    }
}

fn measure(input: &Input, config: &Config) -> (f64, usize) {
    let text = input.repeated.repeat(MB / input.repeated.len() + 1).into_bytes();
    let mut connection = Connection::new(config.vendor(b"vendor-a"));
    let before = LIVE.load(Relaxed);
    let mut most = 0;
    for (side, bytes) in input.first {
        connection.receive(*side, bytes.len(), &mut bytes.as_bytes(), config, &mut Nobody);
    }
    let started = Instant::now();
    for piece in text.chunks(input.piece) {
        let mut source = piece;
        connection.receive(input.side, piece.len(), &mut source, config, &mut Nobody);
        most = most.max(LIVE.load(Relaxed).saturating_sub(before));
    }
    let seconds = started.elapsed().as_secs_f64();
    connection.finish(Ending::CrawlerLeft, config, &mut Nobody);
    assert_eq!(LIVE.load(Relaxed), before, "{}: memory is lost", input.name);
    (seconds * 1000.0 * MB as f64 / text.len() as f64, most)
}

/// Eight rules on one header, and many hosts.
fn configuration() -> String {
    let mut text = String::from("with_targets\n");
    for number in 0..8 {
        text += &format!("answer 0 999 any header:proxy-status:error=reason_{} policy\n", number);
    }
    for number in 0..1000 {
        text += &format!("target *.host-{}.test group-{}\n", number, number % 10);
    }
    text + "answer 0 999 any - success\n"
}

const GET: &str = "GET http://a.test/ HTTP/1.1\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn inputs() -> Vec<Input> {
    use Side::{Crawler as C, Vendor as V};
    let dots = format!("GET http://{}/ HTTP/1.1\n\n", "a.".repeat(125));
    let status = format!("Proxy-Status: {}\n", "er".repeat(490));
    let input = |name, first, side, repeated: &str, piece| Input {
        name,
        first,
        side,
        repeated: repeated.into(),
        piece,
    };
    let connected: &[(Side, &str)] =
        &[(C, "CONNECT a.test:443 HTTP/1.1\r\n\r\n"), (V, "HTTP/1.1 200 OK\r\n\r\n")];
    vec![
        input("a tunnel, in pieces of 16 KiB", connected, V, "x", 16384),
        input("a tunnel, in pieces of 1 byte", connected, V, "x", 1),
        input("chunks of 1 byte", &[(C, GET), (V, CHUNKED)], V, "1\r\nx\r\n", 16384),
        input(
            "chunks of 1 byte, in pieces of 1 byte",
            &[(C, GET), (V, CHUNKED)],
            V,
            "1\r\nx\r\n",
            1,
        ),
        input(
            "chunks of 300 bytes",
            &[(C, GET), (V, CHUNKED)],
            V,
            &format!("12c\r\n{}\r\n", "x".repeat(300)),
            16384,
        ),
        input("header lines of 3 bytes", &[(C, GET), (V, "HTTP/1.1 200\r\n")], V, "a:\n", 16384),
        input("header lines of 1 byte", &[(C, GET), (V, "HTTP/1.1 200\r\n")], V, "a\n", 16384),
        input(
            "header lines of 1 KiB, in pieces of 100",
            &[(C, GET), (V, "HTTP/1.1 200\r\n")],
            V,
            &format!("{}\n", "y".repeat(1023)),
            100,
        ),
        input("one header line", &[(C, GET), (V, "HTTP/1.1 200\r\nx: ")], V, "x", 16384),
        input(
            "one header line, in pieces of 1 byte",
            &[(C, GET), (V, "HTTP/1.1 200\r\nx: ")],
            V,
            "x",
            1,
        ),
        input(
            "a header that eight rules search",
            &[(C, GET), (V, "HTTP/1.1 200\r\n")],
            V,
            &status,
            16384,
        ),
        input("interim answers", &[(C, GET)], V, "HTTP/1.1 100\n\n", 16384),
        input("blank lines", &[], C, "\r\n", 16384),
        input("answers that nobody asked for", &[(C, GET)], V, "HTTP/1.1 204\n\n", 16384),
        input("trailers", &[(C, GET), (V, CHUNKED), (V, "0\r\n")], V, "a\n", 16384),
        input("pipelined requests without an answer", &[], C, GET, 16384),
        input("a request whose host is all dots", &[], C, &dots, 16384),
        input("the handshake of SOCKS5, in pieces of 1 byte", &[], C, "\u{5}\u{1}", 1),
    ]
}
