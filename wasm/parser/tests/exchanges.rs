//! What is counted of an exchange, whole and cut at every byte.

mod play;

use passive_parser::{Config, Ending};
use play::Step::{self, CrawlerFin, VendorFin, WaitMs};
use play::{play, Counts, Script};

const CONFIG: &[u8] = b"timeout_after 10000
with_targets
codes 200 404
answer 407 407 any no-credentials auth_challenge
answer 407 407 any credentials auth_failed
answer 0 999 any header:proxy-status:error=http_request_denied policy
answer 0 999 any header:proxy-status:error= vendor_error
answer 0 999 any header:x-brd-error vendor_error
answer 200 299 tunnel - success
answer 0 999 tunnel - vendor_error
answer 100 399 plain - success
answer 400 999 plain - target_error
socks method 255 255 auth_failed
socks auth 1 255 auth_failed
socks reply 0 0 success
socks reply 2 2 policy
socks reply 1 255 connect_failed
result success delivered
result client_cancelled delivered
result policy refused
result auth_failed failed
result reset failed
result vendor_error failed
rule vendor-a 400 499 any x-error quota_exhausted traffic limit
target shop.test shops
target *.shop.test shops
target *.new.shop.test news
target 10.1.2.3 numbers
";

fn config() -> Config {
    Config::from_text(CONFIG).expect("the configuration can be read")
}

fn c(text: &str) -> Step {
    Step::C(text.as_bytes().to_vec())
}

fn v(text: &str) -> Step {
    Step::V(text.as_bytes().to_vec())
}

/// Returns what is counted, which must not depend on where the bytes are cut.
fn counts(steps: &[Step], ending: Ending) -> Counts {
    let config = config();
    let script = Script { vendor: "vendor-a", steps: steps.to_vec(), ending };
    let whole = play(&script, &config, &mut |left| left);
    for size in [1, 2, 3, 7, 100, 1000] {
        assert_eq!(whole, play(&script, &config, &mut |_| size), "cut at {}", size);
    }
    whole
}

/// Returns the exchanges without their set-up times, and the count of opaque connections.
fn seen(steps: &[Step], ending: Ending) -> (Vec<String>, usize) {
    let counts = counts(steps, ending);
    let short = |line: &String| line.split(" setup=").next().unwrap_or_default().to_string();
    (counts.exchanges.iter().map(short).collect(), counts.opaque)
}

#[track_caller]
fn check(steps: &[Step], exchanges: &[&str]) {
    let (got, opaque) = seen(steps, Ending::CrawlerLeft);
    assert_eq!((got.iter().map(|line| &line[..]).collect(), opaque), (exchanges.to_vec(), 0));
}

#[track_caller]
fn check_opaque(steps: &[Step], exchanges: &[&str]) {
    let (got, opaque) = seen(steps, Ending::CrawlerLeft);
    assert_eq!((got.iter().map(|line| &line[..]).collect(), opaque), (exchanges.to_vec(), 1));
}

#[track_caller]
fn check_end(steps: &[Step], ending: Ending, exchanges: &[&str]) {
    let (got, opaque) = seen(steps, ending);
    assert_eq!((got.iter().map(|line| &line[..]).collect(), opaque), (exchanges.to_vec(), 0));
}

const GET: &str = "GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n";
const CONNECT: &str = "CONNECT a.shop.test:443 HTTP/1.1\r\nHost: a.shop.test:443\r\n\r\n";
const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ONE: &str = "http success 200 shops";

#[test]
fn keep_alive_counts_each_request() {
    check(&[c(GET), v(GOOD), c(GET), v(GOOD), c(GET), v(GOOD)], &[ONE, ONE, ONE]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let get_404 = GOOD.replace("200 OK", "404 Not Found");
    let other = GET.replace("shop.test", "elsewhere.test");
    check(
        &[c(&[GET, &other, GET].concat()), v(&[GOOD, &get_404, GOOD].concat())],
        &[ONE, "http target_error 404 other", ONE],
    );
}

#[test]
fn pipelining_is_read_up_to_its_limit() {
    let (got, opaque) = seen(&[c(&GET.repeat(256)), v(&GOOD.repeat(256))], Ending::CrawlerLeft);
    assert_eq!((got.len(), opaque), (256, 0));
    let (got, opaque) = seen(&[c(&GET.repeat(257)), v(&GOOD.repeat(257))], Ending::CrawlerLeft);
    assert_eq!((got.len(), opaque), (256, 1));
}

#[test]
fn chunks_may_have_extensions_trailers_and_bare_line_feeds() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "2\r\nok\r\n0\r\n\r\n",
        "2;a=b;c=\"d;e\"\r\nok\r\n0;last\r\n\r\n",
        "0002 \r\nok\r\n00\r\nX-Sum: 5\r\nX-Other: HTTP/1.1 500\r\n\r\n",
        "2\nok\n0\n\n",
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "0\r\nX: y\n\n",
    ] {
        let answer = [head, body].concat();
        check(&[c(GET), v(&answer), c(GET), v(GOOD)], &[ONE, ONE]);
    }
}

#[test]
fn broken_chunks_are_a_bad_answer() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["x\r\n", "\r\n", "2\r\nokay\r\n", "2x\r\n", "11111111111111111\r\n", "-1\r\n"] {
        let answer = [head, body].concat();
        check(&[c(GET), v(&answer)], &["http bad_answer 200 shops"]);
    }
}

#[test]
fn a_request_may_have_a_body() {
    for body in [
        "Content-Length: 4\r\n\r\nGET ",
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n4\nGET \n0\nA: b\n\n",
    ] {
        let post = ["POST http://shop.test/ HTTP/1.1\r\n", body].concat();
        check(&[c(&post), v(GOOD), c(GET), v(GOOD)], &[ONE, ONE]);
    }
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    let head = GET.replace("GET", "HEAD");
    check(
        &[c(&head), v("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), c(GET), v(GOOD)],
        &[ONE, ONE],
    );
    for status in ["204 No Content", "304 Not Modified"] {
        let answer = format!("HTTP/1.1 {}\r\nContent-Length: 5\r\n\r\n", status);
        let line = format!("http success {} shops", &status[..3]);
        check(&[c(GET), v(&answer), c(GET), v(GOOD)], &[&line, ONE]);
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    check(&[c(GET), v(interim), v(GOOD)], &[ONE]);
    check(&[c(GET), v(interim), WaitMs(5)], &["http client_cancelled 103 shops"]);
}

#[test]
fn behind_101_everything_passes_by_size() {
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    check(&[c(GET), v(upgrade), c("\u{1}\r\n\r\n"), v("x")], &["http success 101 shops"]);
}

#[test]
fn an_answer_without_a_length_ends_with_a_fin() {
    let answer = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 no head\r\n\r\n";
    check(&[c(GET), v(answer), VendorFin], &[ONE]);
    check_end(&[c(GET), v(answer)], Ending::VendorLeft, &["http reset 200 shops"]);
    check(&[c(GET), v("HTTP/1.0 200\r\nTransfer-Encoding: gzip\r\n\r\nx"), VendorFin], &[ONE]);
}

#[test]
fn a_granted_tunnel_is_counted_when_it_stands() {
    let granted = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n";
    let tunnel = "tunnel success 200 shops";
    check(&[c(CONNECT), v(granted), c(GET), v("garbage")], &[tunnel]);
    check_end(&[c(CONNECT), v(granted), c("\u{16}\u{3}")], Ending::VendorLeft, &[tunnel]);
    // A crawler that does not wait for the answer, in what looks like a request and what does not.
    check(&[c(CONNECT), c("\u{16}\u{3}\u{1}"), v(granted), c("\u{17}")], &[tunnel]);
    check(&[c(CONNECT), c(GET), v(granted), v(GOOD)], &[tunnel]);
    for lengths in ["Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked"] {
        let odd = CONNECT.replace("Host:", &format!("{}\r\nHost:", lengths));
        check(&[c(&odd), v("HTTP/1.1 200 OK\r\n\r\n"), c("\u{16}"), v("x")], &[tunnel]);
    }
}

#[test]
fn behind_a_refused_tunnel_comes_the_next_request() {
    let refused = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno!";
    let knowing = CONNECT.replace("\r\n\r\n", "\r\nProxy-Authorization: Basic eA==\r\n\r\n");
    check(
        &[
            c(CONNECT),
            v(refused),
            c(&knowing),
            v(refused),
            c(&knowing),
            v("HTTP/1.1 200 OK\r\n\r\n"),
        ],
        &[
            "tunnel auth_challenge 407 shops",
            "tunnel auth_failed 407 shops",
            "tunnel success 200 shops",
        ],
    );
    let no_length = "HTTP/1.1 502 Bad Gateway\r\n\r\nsorry";
    check(&[c(CONNECT), v(no_length), VendorFin], &["tunnel vendor_error 502 shops"]);
    // What was sent into a tunnel that did not open cannot be read.
    check_opaque(
        &[c(CONNECT), c("\u{16}\u{3}\u{1}"), v(refused)],
        &["tunnel auth_challenge 407 shops"],
    );
}

#[test]
fn a_crawler_may_half_close_behind_its_request() {
    check(&[c(GET), CrawlerFin, v(GOOD), VendorFin], &[ONE]);
    check(&[c(GET), CrawlerFin, VendorFin], &["http client_cancelled 0 shops"]);
    check(&[c(GET), VendorFin, CrawlerFin], &["http reset 0 shops"]);
}

#[test]
fn who_leaves_first_decides_on_a_request_without_an_answer() {
    use Ending::{ConnectFailed, ConnectTimedOut, CrawlerLeft, VendorLeft};
    for (ending, waited, outcome) in [
        (CrawlerLeft, 9_999, "client_cancelled"),
        (CrawlerLeft, 10_000, "timeout"),
        (VendorLeft, 60_000, "reset"),
        (ConnectFailed, 5, "connect_failed"),
        (ConnectTimedOut, 5, "timeout"),
    ] {
        let line = format!("http {} 0 shops", outcome);
        check_end(&[c(GET), WaitMs(waited)], ending, &[&line]);
        check_end(&[c(&GET.repeat(2)), WaitMs(waited)], ending, &[&line, &line]);
    }
}

#[test]
fn behind_the_answers_head_the_status_decides_unless_the_vendor_left() {
    let half = &GOOD[..GOOD.len() - 1];
    check_end(&[c(GET), v(half), WaitMs(60_000)], Ending::CrawlerLeft, &[ONE]);
    check_end(&[c(GET), v(half)], Ending::VendorLeft, &["http reset 200 shops"]);
    check(&[c(GET), v(half), VendorFin], &["http reset 200 shops"]);
    check(&[c(GET), v(&half[..20]), VendorFin], &["http reset 0 shops"]);
}

#[test]
fn an_answer_that_is_not_http_is_bad() {
    for garbage in [
        "<html>\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
    ] {
        check(&[c(GET), v(garbage), v("more")], &["http bad_answer 0 shops"]);
    }
    let differing = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok";
    check(&[c(GET), v(differing)], &["http bad_answer 200 shops"]);
    // What the crawler asks behind it can no longer be told.
    check_opaque(&[c(GET), v("garbage\n"), c(GET), v(GOOD)], &["http bad_answer 0 shops"]);
    check_opaque(&[c(&GET.repeat(2)), v("garbage\n")], &["http bad_answer 0 shops"]);
}

#[test]
fn odd_requests_are_requests() {
    for line in [
        "get http://shop.test/ HTTP/1.1",
        "QUERY http://shop.test/ HTTP/1.1",
        "M-SEARCH http://shop.test/ HTTP/1.1",
        "GET http://shop.test/\u{e9}\u{1f600} HTTP/1.1",
        "GET http://shop.test/a b c HTTP/1.1",
        "GET http://shop.test#top HTTP/1.0",
        "GET ftp://user:p%40ss@shop.test:21?x HTTP/1.1",
        "GET http://SHOP.test.:80/ HTTP/1.1",
        "GET http://a.b.shop.test/ HTTP/1.1 ",
        "OPTIONS * HTTP/1.1\r\nHost: shop.test",
        "GET /path HTTP/1.1\r\nhost:shop.test:8080",
        "GET / HTTP/1.1\r\nX-XSS-Protection : 1\r\nNo Token: 2\r\nno colon\r\nHOST : shop.test\r\n folded",
    ] {
        check(&[c(&format!("{}\r\n\r\n", line)), v(GOOD), c(GET), v(GOOD)], &[ONE, ONE]);
        let bare = line.replace("\r\n", "\n");
        check(&[c(&format!("\r\n\n{}\n\n", bare)), v(GOOD), c(GET), v(GOOD)], &[ONE, ONE]);
    }
}

#[test]
fn lengths_that_contradict_each_other_leave_a_request_unread() {
    for headers in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: +2",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
        "Content-Length: 2\r\n 3",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
    ] {
        let post = format!("POST http://shop.test/ HTTP/1.1\r\n{}\r\n\r\nok", headers);
        check_opaque(&[c(&post), v(GOOD)], &[]);
        check_opaque(&[c(GET), v(GOOD), c(&post), v(GOOD)], &[ONE]);
    }
    let twice =
        "POST http://shop.test/ HTTP/1.1\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok";
    check(&[c(twice), v(GOOD), c(GET), v(GOOD)], &[ONE, ONE]);
}

#[test]
fn other_protocols_are_one_opaque_connection() {
    for first in [
        "\u{16}\u{3}\u{1}\u{2}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "SSH-2.0-OpenSSH_9\r\n",
        "\u{4}\u{1}\u{0}\u{50}",
        "GET /\r\n",
        "EHLO there\r\n",
        "averylongwordthatcannotbeamethodofhttpatall",
        "GE",
        "GET http://shop.test/ HTTP/1.1\r\nHost: x\r\n",
    ] {
        let got = counts(&[c(first), v("x"), c("y"), v("zz")], Ending::CrawlerLeft);
        let sent = first.len() as u64 + 1;
        let bytes = (got.bytes["up opaque other"], got.bytes["down opaque other"]);
        assert_eq!((&got.exchanges[..], got.opaque, bytes), (&[][..], 1, (sent, 3)), "{}", first);
    }
    check_opaque(&[v("220 mail ready\r\n"), c(GET), v(GOOD)], &[]);
    check_opaque(&[v("\r\nlogin: ")], &[]);
    check_opaque(&[], &[]);
    check_opaque(&[c("\r\n")], &[]);
}

#[test]
fn the_rest_of_a_connection_that_becomes_unreadable_is_opaque() {
    let got = counts(&[c(GET), v(GOOD), c("\u{16}abc"), v("xy")], Ending::CrawlerLeft);
    let bytes = (got.bytes["up opaque other"], got.bytes["down opaque other"]);
    assert_eq!((got.exchanges.len(), got.opaque, bytes), (1, 1, (4, 2)));
    // The requests before it are still answered.
    let (got, opaque) = seen(&[c(&[GET, "\u{16}abc"].concat()), v(GOOD)], Ending::CrawlerLeft);
    assert_eq!((got, opaque), (vec![ONE.to_string()], 1));
}

#[test]
fn blank_lines_and_farewells_between_answers_are_nobodys() {
    check(&[c(GET), v(GOOD), v("\r\n"), c("\r\n"), c(GET), v(GOOD), c("\r\n")], &[ONE, ONE]);
    let farewell = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    check(&[c(GET), v(GOOD), v(farewell), VendorFin], &[ONE]);
}

#[test]
fn long_lines_are_framed_and_huge_heads_are_not_read() {
    let cookie = format!("Cookie: {}\r\n", "x".repeat(100_000));
    let long = GET.replace("Host:", &format!("{}Host:", cookie));
    let answer = GOOD.replace("Content", &format!("Set-{}Content", cookie));
    check(&[c(&long), v(&answer), c(GET), v(GOOD)], &[ONE, ONE]);
    let url = GET.replace(" HTTP", &format!("{} HTTP", "x y".repeat(5_000)));
    check(&[c(&url), v(GOOD), c(GET), v(GOOD)], &[ONE, ONE]);
    let huge = GET.replace("Host:", &format!("{}Host:", cookie.repeat(11)));
    let config = config();
    let steps = vec![c(&huge), v(GOOD)];
    let script = Script { vendor: "vendor-a", steps, ending: Ending::CrawlerLeft };
    let got = play(&script, &config, &mut |left| left.min(65_536));
    assert_eq!((got.exchanges.len(), got.opaque), (0, 1));
}

#[test]
fn a_vendors_rules_come_before_the_table() {
    let refused =
        "HTTP/1.1 407 No\r\nX-Error : your traffic limit is reached\r\nContent-Length: 0\r\n\r\n";
    check(&[c(GET), v(refused)], &["http quota_exhausted 407 shops"]);
    let policy = "HTTP/1.1 200 OK\r\nProxy-Status: a; error=http_request_denied\r\nContent-Length: 0\r\n\r\n";
    check(&[c(GET), v(policy)], &["http policy 200 shops"]);
    let failed = policy.replace("http_request_denied", "dns_timeout");
    check(&[c(GET), v(&failed)], &["http vendor_error 200 shops"]);
    let brd = "HTTP/1.1 502 X\r\nx-brd-error: y\r\nContent-Length: 0\r\n\r\n";
    check(&[c(GET), v(brd)], &["http vendor_error 502 shops"]);
    let config = config();
    let steps = vec![c(GET), v(refused)];
    let script = Script { vendor: "nobody", steps, ending: Ending::CrawlerLeft };
    let got = play(&script, &config, &mut |left| left);
    assert_eq!(got.exchanges, ["http auth_challenge 407 shops setup=0"]);
}

#[test]
fn the_longest_target_wins() {
    for (host, group) in [
        ("shop.test", "shops"),
        ("x.shop.test", "shops"),
        ("new.shop.test", "shops"),
        ("a.new.shop.test", "news"),
        ("notshop.test", "other"),
        ("test", "other"),
        ("10.1.2.3", "numbers"),
    ] {
        let line = format!("http success 200 {}", group);
        check(&[c(&GET.replace("shop.test", host)), v(GOOD)], &[&line]);
    }
}

#[test]
fn the_set_up_lasts_from_the_first_byte_to_the_end_of_the_answers_head() {
    let (start, rest) = GET.split_at(5);
    let (head, body) = GOOD.split_at(GOOD.len() - 2);
    let steps =
        [WaitMs(7), c(start), WaitMs(10), c(rest), WaitMs(20), v(head), WaitMs(40), v(body)];
    let got = counts(&steps, Ending::CrawlerLeft);
    assert_eq!(got.exchanges, ["http success 200 shops setup=30"]);
}

fn socks(bytes: &[u8]) -> Step {
    Step::C(bytes.to_vec())
}

fn reply(bytes: &[u8]) -> Step {
    Step::V(bytes.to_vec())
}

const TO_SHOP: &[u8] = b"\x05\x01\x00\x03\x09shop.test\x01\xbb";
const TO_NUMBER: &[u8] = b"\x05\x01\x00\x01\x0a\x01\x02\x03\x01\xbb";

#[test]
fn the_handshake_of_socks5_is_read() {
    let granted = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    check(
        &[socks(b"\x05\x01\x00"), reply(b"\x05\x00"), socks(TO_SHOP), reply(granted), c(GET)],
        &["socks success 0 shops"],
    );
    check(
        &[
            socks(b"\x05\x02\x00\x02"),
            reply(b"\x05\x02"),
            socks(b"\x01\x04user\x02pw"),
            reply(b"\x01\x00"),
            socks(TO_NUMBER),
            reply(b"\x05\x00\x00\x03\x01x\x00\x00HTTP/1.1"),
        ],
        &["socks success 0 numbers"],
    );
    let all_at_once = [&b"\x05\x01\x00"[..], TO_SHOP, b"\x16\x03"].concat();
    check(&[socks(&all_at_once), reply(b"\x05\x00"), reply(granted)], &["socks success 0 shops"]);
}

#[test]
fn the_handshake_of_socks5_fails() {
    let hello = socks(b"\x05\x01\x02");
    let password = socks(b"\x01\x01u\x01p");
    let refused = reply(b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00");
    check(&[hello.clone(), reply(b"\x05\xff"), VendorFin], &["socks auth_failed 0 other"]);
    check(
        &[hello.clone(), reply(b"\x05\x02"), password, reply(b"\x01\x01"), VendorFin],
        &["socks auth_failed 0 other"],
    );
    let asked = [hello.clone(), reply(b"\x05\x00"), socks(TO_SHOP)];
    let with = |asked: &[Step], reply| [asked, &[reply]].concat();
    check(&with(&asked, refused), &["socks policy 0 shops"]);
    // Refusals that end early, or with a kind of address that does not exist.
    for short in
        [&b"\x05\x02"[..], b"\x05\x02\x00", b"\x05\x02\x00\x01", b"\x05\x02\x00\x00\x00\x00"]
    {
        check_end(&with(&asked, reply(short)), Ending::VendorLeft, &["socks policy 0 shops"]);
    }
    let odd_kind = with(&asked, reply(b"\x05\x00\x00\x07\x00\x00"));
    check_end(&odd_kind, Ending::VendorLeft, &["socks bad_answer 0 shops"]);
    check_end(&asked, Ending::VendorLeft, &["socks reset 0 shops"]);
    check_end(&asked, Ending::CrawlerLeft, &["socks client_cancelled 0 shops"]);
    check_end(&[hello.clone()], Ending::ConnectFailed, &["socks connect_failed 0 other"]);
    check(&[hello.clone(), v("HTTP/1.1 400 Bad\r\n\r\n")], &["socks bad_answer 0 other"]);
    check_opaque(&[hello.clone(), reply(b"\x05\x01"), socks(b"\x01\x01abc")], &[]); // GSS-API
    check_opaque(&[hello.clone(), reply(b"\x05\x00"), socks(b"\x07")], &[]);
    check_opaque(&[socks(b"\x05")], &[]);
}

#[test]
fn a_request_that_is_repeated_without_its_expectation() {
    let no = v("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
    let repeated = c("POST http://shop.test/ HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    let failed = "http target_error 417 shops";
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let head =
            format!("POST http://shop.test/ HTTP/1.1\r\nExpect: 100-continue\r\n{}", framing);
        let asked = c(&format!("{}\r\n\r\n", head));
        let again = [asked.clone(), no.clone(), repeated.clone(), v(GOOD), c(GET), v(GOOD)];
        check(&again, &[failed, ONE, ONE]);
        // Behind another that waited.
        check(
            &[&[c(GET)][..], &again[..1], &[v(GOOD)], &again[1..4]].concat(),
            &[ONE, failed, ONE],
        );
    }
    // The body was on its way.
    let begun = c("POST http://shop.test/ HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe");
    check(&[begun, no, c("llo"), c(GET), v(GOOD)], &[failed, ONE]);
}

#[test]
fn every_byte_is_in_one_counter() {
    let tunnel = [c(CONNECT), v("HTTP/1.1 200 OK\r\n\r\n"), c("abc"), v("defgh")];
    let got = counts(&[&[c(GET), v(GOOD)][..], &tunnel].concat(), Ending::CrawlerLeft);
    let bytes: Vec<_> =
        got.bytes.iter().map(|(key, count)| format!("{}: {}", key, count)).collect();
    assert_eq!(
        bytes,
        [
            "down http shops delivered: 40",
            "down tunnel shops delivered: 24",
            "up http shops delivered: 51",
            "up tunnel shops delivered: 62"
        ]
    );
    // What comes before the grant is the tunnel's, also where it reads as no request.
    let early = [c(CONNECT), c("\u{16}\u{3}\u{1}"), v("HTTP/1.1 200 OK\r\n\r\n"), c("abc")];
    let got = counts(&early, Ending::CrawlerLeft);
    assert_eq!(got.bytes["up tunnel shops delivered"], CONNECT.len() as u64 + 6);
    assert_eq!(got.bytes.len(), 2);
    let upgrade = GET.replace("\r\n\r\n", "\r\nUpgrade: websocket\r\n\r\n");
    let early = [c(&upgrade), c("\u{1}\u{2}"), v("HTTP/1.1 101 Go\r\n\r\n")];
    let got = counts(&early, Ending::CrawlerLeft);
    assert_eq!(got.bytes["up http shops delivered"], upgrade.len() as u64 + 2);
    assert_eq!(got.bytes.len(), 2);
    // Nothing of this reached a vendor.
    assert_eq!(counts(&[c(GET)], Ending::ConnectFailed).by_crawler, 0);
}

/// Returns "up http shops failed: 51" for each counter of bytes.
fn bytes(steps: &[Step], ending: Ending) -> Vec<String> {
    let counted = counts(steps, ending).bytes;
    counted.iter().map(|(key, count)| format!("{}: {}", key, count)).collect()
}

#[test]
fn a_requests_bytes_wait_for_what_comes_of_them() {
    let refused =
        "HTTP/1.1 403 No\r\nProxy-Status: a; error=http_request_denied\r\nContent-Length: 2\r\n\r\nno";
    let post = "POST http://shop.test/ HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
    // Two wait at once, and the first is answered before its body has gone.
    let both = [c(post), v(refused), c("body"), c(GET), v(GOOD)];
    assert_eq!(
        bytes(&both, Ending::CrawlerLeft),
        [
            "down http shops delivered: 40".to_string(),
            format!("down http shops refused: {}", refused.len()),
            format!("up http shops delivered: {}", GET.len()),
            format!("up http shops refused: {}", post.len() + 4),
        ]
    );
    let pipelined = [c(&[GET, GET].concat()), v(&[GOOD, refused].concat())];
    let each = format!("{}", GET.len());
    let found = bytes(&pipelined, Ending::CrawlerLeft);
    assert_eq!(found[2], format!("up http shops delivered: {}", each));
    assert_eq!(found[3], format!("up http shops refused: {}", each));
    // Without an answer the end decides.
    let lost = format!("up http shops failed: {}", each);
    assert_eq!(bytes(&[c(GET)], Ending::VendorLeft), [lost]);
    let left = format!("up http shops delivered: {}", each);
    assert_eq!(bytes(&[c(GET)], Ending::CrawlerLeft), [left]);
    // A tunnel that does not open is an exchange in plain HTTP.
    let no = "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        bytes(&[c(CONNECT), v(no)], Ending::CrawlerLeft),
        [
            format!("down http shops failed: {}", no.len()),
            format!("up http shops failed: {}", CONNECT.len())
        ]
    );
    let hello = socks(b"\x05\x01\x02");
    let asked = [hello, reply(b"\x05\x02"), socks(b"\x01\x01u\x01p"), reply(b"\x01\x01")];
    assert_eq!(
        bytes(&asked, Ending::VendorLeft),
        ["down socks other failed: 4", "up socks other failed: 8"]
    );
}
