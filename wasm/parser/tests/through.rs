//! The generated connections of `fuzz`, by real sockets through an Envoy with the module.
//!
//!     through CONFIG
//!     through CRAWLER_PORT VENDOR_PORT EXCHANGES ADDRESS...
//!
//! The first prints the configuration that the module needs. The second plays both sides, on each
//! address at once, and fails if a byte differs; it prints how often each line must be counted.

#[path = "play/generate.rs"]
mod generate;
#[path = "play/script.rs"]
mod play;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use generate::{connection, Chance, Expected, CONFIG};
use passive_parser::Ending;
use play::Step;

const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.len() < 4 {
        print!("{}", std::str::from_utf8(CONFIG).expect("text"));
        return;
    }
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    let (crawlers, vendors) = (number(0) as u16, number(1) as u16);
    let addresses = arguments[3..].to_vec();
    let each = number(2) / addresses.len() as u64;
    let threads: Vec<_> = addresses
        .into_iter()
        .zip(1u64..)
        .map(|(address, place)| {
            std::thread::spawn(move || {
                let listener =
                    TcpListener::bind((&address[..], vendors)).expect("the vendor's port");
                play_all(&address, crawlers, &listener, place << 32, each)
            })
        })
        .collect();
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    for thread in threads {
        for (line, count) in thread.join().expect("every byte arrives") {
            *totals.entry(line).or_default() += count;
        }
    }
    for (line, count) in totals {
        println!("{} {}", count, line);
    }
}

fn play_all(
    address: &str,
    port: u16,
    listener: &TcpListener,
    first_seed: u64,
    wanted: u64,
) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    let (mut exchanges, mut seed) = (0, first_seed);
    while exchanges < wanted {
        let mut chance = Chance::new(seed);
        let expected = connection(&mut chance);
        seed += 1;
        if !can_be_played(&expected) {
            continue;
        }
        play_one(&expected, address, port, listener, &mut chance, seed - 1);
        let opaque = expected.is_opaque.then(|| "opaque".to_string());
        for line in expected.exchanges.into_iter().chain(opaque) {
            *totals.entry(line).or_default() += 1;
            exchanges += 1;
        }
    }
    totals
}

/// Nobody waits for a minute here, and the vendor is there.
fn can_be_played(expected: &Expected) -> bool {
    let waits = |step: &Step| matches!(step, Step::WaitMs(ms) if *ms > 0);
    let fails = matches!(expected.script.ending, Ending::ConnectFailed | Ending::ConnectTimedOut);
    !fails && !expected.script.steps.iter().any(waits)
}

fn play_one(
    expected: &Expected,
    address: &str,
    port: u16,
    listener: &TcpListener,
    chance: &mut Chance,
    seed: u64,
) {
    let mut crawler = TcpStream::connect((address, port)).expect("Envoy listens");
    let (mut vendor, _) = listener.accept().expect("Envoy connects");
    for side in [&crawler, &vendor] {
        side.set_nodelay(true).expect("an option");
        side.set_read_timeout(Some(PATIENCE)).expect("an option");
    }
    for step in &expected.script.steps {
        match step {
            Step::C(bytes) => carry(&mut crawler, &mut vendor, bytes, chance, seed),
            Step::V(bytes) => carry(&mut vendor, &mut crawler, bytes, chance, seed),
            Step::CrawlerFin => end(&crawler, &mut vendor, seed),
            Step::VendorFin => end(&vendor, &mut crawler, seed),
            Step::WaitMs(_) => {}
        }
    }
    // The other side leaves once it has seen that this one left.
    match expected.script.ending {
        Ending::CrawlerLeft => leave(crawler, vendor),
        _ => leave(vendor, crawler),
    }
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8], chance: &mut Chance, seed: u64) {
    let mut left = bytes;
    while !left.is_empty() {
        let most = *chance.pick(&[&5usize, &100, &10_000]);
        let (piece, rest) = left.split_at((1 + chance.below(most)).min(left.len()));
        from.write_all(piece).expect("Envoy takes it");
        left = rest;
    }
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).unwrap_or_else(|error| panic!("seed {}: {}", seed, error));
    assert_eq!(received, bytes, "seed {}", seed);
}

fn end(from: &TcpStream, to: &mut TcpStream, seed: u64) {
    from.shutdown(Shutdown::Write).expect("a FIN");
    let read = to.read(&mut [0; 1]).unwrap_or_else(|error| panic!("seed {}: {}", seed, error));
    assert_eq!(read, 0, "seed {}", seed);
}

fn leave(first: TcpStream, mut last: TcpStream) {
    drop(first);
    // A reset ends it as well as a FIN.
    while matches!(last.read(&mut [0; 64]), Ok(1..)) {}
}
