//! The configuration's text: what is read, and what is refused.

use passive_parser::address::{address, address_with_port};
use passive_parser::config::{Config, Reader, SocksStep};
use passive_parser::outcome::Answer;

fn config(text: &str) -> Config {
    Config::from_text(text.as_bytes()).expect("the configuration can be read")
}

fn pool(config: &Config, vendor: &str, text: &str) -> String {
    let address = address(text.as_bytes()).expect("an address");
    let pool = config.pool(config.vendor(vendor.as_bytes()), address);
    String::from_utf8_lossy(config.pools.get(pool.into())).into_owned()
}

#[test]
fn the_longest_range_of_the_vendor_names_the_pool() {
    let config = config(
        "pool a 10.1.0.0/16 wide\npool a 10.1.8.0/24 narrow\npool a 10.1.8.7/32 one\npool a 10.1.9.0/24 -\n\
         pool b 10.1.8.0/24 others\npool a 2001:db8::/32 six\npool a 2001:db8::7/128 one6\n\
         pool c 0.0.0.0/0 all\npool c 10.0.0.0/8 ten\npool c ::/0 all6\n",
    );
    for (vendor, text, expected) in [
        ("a", "10.1.0.1", "wide"),
        ("a", "10.1.8.6", "narrow"),
        ("a", "10.1.8.7", "one"),
        ("a", "::ffff:10.1.8.7", "one"),
        ("a", "10.1.9.1", ""),
        ("a", "10.2.0.1", ""),
        ("a", "2001:db8::1", "six"),
        ("a", "2001:db8::7", "one6"),
        ("a", "2001:db9::7", ""),
        ("b", "10.1.8.7", "others"),
        ("b", "10.1.0.1", ""),
        ("c", "11.1.0.1", "all"),
        ("c", "10.1.0.1", "ten"),
        ("c", "fe80::1", "all6"),
        ("nobody", "10.1.8.7", ""),
    ] {
        assert_eq!(pool(&config, vendor, text), expected, "{} {}", vendor, text);
    }
}

#[test]
fn addresses_are_read_as_envoy_prints_them() {
    for (text, expected) in [
        ("10.1.0.10:3128", "10.1.0.10"),
        ("[2001:db8::1]:3128", "2001:db8:0:0:0:0:0:1"),
        ("[::1]:80", "0:0:0:0:0:0:0:1"),
        ("[::]:80", "0:0:0:0:0:0:0:0"),
        ("[::ffff:10.1.0.10]:80", "10.1.0.10"),
        ("[1:2:3:4:5:6:1.2.3.4]:80", "1:2:3:4:5:6:102:304"),
    ] {
        let expected = address(expected.as_bytes());
        assert!(expected.is_some());
        assert_eq!(address_with_port(text.as_bytes()), expected, "{}", text);
    }
    let wrong = [
        "",
        "1.2.3",
        "1.2.3.256",
        "1.2.3.4.5",
        "1:2",
        ":::",
        "1::2::3",
        "12345::",
        "g::",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::8",
    ];
    for text in wrong {
        assert_eq!(address(text.as_bytes()), None, "{}", text);
    }
}

#[test]
fn a_line_that_cannot_be_read_refuses_the_whole() {
    for line in [
        "unknown 1",
        "timeout_after",
        "timeout_after x",
        "timeout_after 1 2",
        "with_targets yes",
        "codes 200 x",
        "codes 1000",
        "codes  200",
        "answer 200 299 any -",
        "answer 200 299 any - a b",
        "answer 300 200 any - a",
        "answer 200 299 some - a",
        "answer 200 299 any maybe a",
        "answer 200 299 any header: a",
        "socks hello 1 1 a",
        "socks reply 1 256 a",
        "result a",
        "result a b c",
        "rule v 200 299 any - a text",
        "rule v 200 299 any",
        "rule v 200 299 - a",
        "rule v 200 299 socks - a",
        "pool v 10.1.0.1/16 p",
        "pool v 10.1.0.0/33 p",
        "pool v 10.1.0.0/16",
        "product v *-a",
        "product v *-a b c",
        "product v  b",
        "target x",
        "target * x",
        "target  x",
        " codes 200",
    ] {
        assert_eq!(Config::from_text(line.as_bytes()).err(), Some(1), "{}", line);
        let lines = format!("codes 200\n\n{}\ncodes 201\n", line);
        assert_eq!(Config::from_text(lines.as_bytes()).err(), Some(3), "{}", line);
    }
    let long = format!("rule v 200 299 any x a {}", "y".repeat(5000));
    assert_eq!(Config::from_text(long.as_bytes()).err(), Some(1));
}

#[test]
fn pieces_and_blank_lines_make_no_difference() {
    let text = b"codes 200 999\n\nanswer 200 299 plain header:x-a:b:c  policy\n";
    assert!(Config::from_text(text).is_err()); // two spaces
    let text = b"codes 200 999\n\nanswer 200 299 plain header:x-a:b:c policy\ntimeout_after 7";
    for size in 1..text.len() {
        let mut reader = Reader::new();
        text.chunks(size).for_each(|piece| reader.push(piece));
        let config = reader.finish().expect("the configuration can be read");
        assert_eq!(config.timeout_after_ms, 7);
        assert!(config.has_own_code(200) && config.has_own_code(999) && !config.has_own_code(201));
        assert_eq!(config.table().met_by(b"X-A", b"a b:c d"), 1);
        assert_eq!(config.table().met_by(b"X-A", b"b"), 0);
    }
}

#[test]
fn without_a_line_there_are_defaults() {
    let config = config("");
    assert_eq!(config.timeout_after_ms, 10_000);
    let name = |status, is_tunnel| {
        let answer = Answer { status, is_tunnel, had_credentials: false };
        String::from_utf8_lossy(config.outcomes.get(config.outcome(None, answer, 0, 0).into()))
            .into_owned()
    };
    assert_eq!((name(200, false), name(404, true)), ("success".into(), "target_error".into()));
    assert_eq!(config.socks_outcome(SocksStep::Reply, 0), None);
}

#[test]
fn there_may_be_thousands_of_lines() {
    let mut text = String::from("with_targets\n");
    for number in 0..20_000 {
        text += &format!("target *.{}.test group-{}\n", number, number % 100);
        text +=
            &format!("pool a 10.{}.{}.0/24 pool-{}\n", number / 256, number % 256, number % 100);
    }
    let config = config(&text);
    for number in [0, 1, 9_999, 19_999] {
        let group = config.group(format!("www.{}.test:443", number).as_bytes());
        assert_eq!(config.groups.get(group.into()), format!("group-{}", number % 100).as_bytes());
        let place = format!("10.{}.{}.9", number / 256, number % 256);
        assert_eq!(pool(&config, "a", &place), format!("pool-{}", number % 100));
    }
}

#[test]
fn damaged_text_is_read_or_refused() {
    let text: &[u8] =
        b"timeout_after 10\nwith_targets\ncodes 200 999\nanswer 200 299 any header:x:y policy\n\
        socks reply 1 255 reset\nresult reset failed\nrule v 400 499 x-a blocked some text\npool v 10.1.0.0/16 wide\n\
        pool v 2001:db8::/32 -\ntarget *.shop.test shops\ntarget a.b other\n";
    let mut state = 88172645463325252u64;
    let mut chance = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    let mut read = 0;
    for _ in 0..100_000 {
        let mut damaged = text.to_vec();
        for _ in 0..1 + chance(3) {
            let at = chance(damaged.len().max(1));
            if damaged.len() < 2 {
                break;
            }
            match chance(4) {
                0 => damaged[at] = b" \n:.*/-09\xff"[chance(10)],
                1 => damaged[at] = chance(256) as u8,
                2 => drop(damaged.remove(at)),
                _ => damaged.truncate(at.max(1)),
            }
        }
        if let Ok(config) = Config::from_text(&damaged) {
            read += 1;
            let place = address(b"10.1.2.3").expect("an address");
            config.pool(config.vendor(b"v"), place);
            config.group(b"www.shop.test:443");
        }
    }
    assert!(read > 1000, "{}", read);
}
