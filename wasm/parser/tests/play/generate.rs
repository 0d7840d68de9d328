//! Makes connections of which it knows what must be counted.

use passive_parser::Ending;

use crate::play::{Script, Step};

/// A small generator of numbers (xorshift64*): the same seed makes the same connections.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A connection, the exchanges that must be counted, and whether an opaque connection must.
pub struct Expected {
    pub script: Script,
    pub exchanges: Vec<String>,
    pub is_opaque: bool,
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq)]
enum Delimiter {
    None,
    Length,
    Chunks,
    Close,
}

pub const CONFIG: &[u8] = b"timeout_after 10000
with_targets
codes 200 404
answer 407 407 any no-credentials auth_challenge
answer 407 407 any credentials auth_failed
answer 0 999 any header:x-failed vendor_error
answer 200 299 tunnel - success
answer 0 999 tunnel - vendor_error
answer 100 399 plain - success
answer 400 999 plain - target_error
socks method 255 255 auth_failed
socks auth 1 255 auth_failed
socks reply 0 0 success
socks reply 1 255 connect_failed
result success delivered
result target_error delivered
result client_cancelled delivered
result bad_answer delivered
result rate_limited refused
result auth_failed failed
result reset failed
result vendor_error failed
rule vendor-a 429 429 any - rate_limited
rule vendor-a 500 599 any x-why quota_exhausted no money
product vendor-a *-zone-resi* residential
product vendor-a resi isp
product vendor-b * nobodys
target shop.test shops
target *.shop.test shops
";

/// Headers that must not change anything, some of them no headers at all.
const NOISE: [&[u8]; 10] = [
    b"Accept: */*",
    b"Proxy Connection: keep-alive",
    b"X-XSS-Protection : 1",
    b"X-Content-Length: 7",
    b"Content-Length-X: 7",
    b"Cookie: a=\xe9\xff; Transfer-Encoding: chunked",
    b"no colon at all",
    b": nothing before",
    b"X-Empty:",
    b"X-Folded: one\r\n two: three\r\n\tContent-Length: 5",
];

/// Credentials, and the product of their user.
const AUTHORIZATIONS: [(&str, &str); 8] = [
    ("Basic eDp5", ""),
    ("Basic Yy16b25lLXJlc2ktMTpwYXNz", "residential"), // c-zone-resi-1:pass
    ("basic \t LXpvbmUtcmVzaTpwOnE=  ", "residential"), // -zone-resi:p:q
    ("BASIC cmVzaTo", "isp"),                          // resi: without padding
    ("Basic cmVzaTo\u{e9}", "isp"),                    // the same, and no base64 behind it
    ("Basic em9uZS1yZXNp", ""),                        // zone-resi, without a colon
    ("Bearer Yy16b25lLXJlc2ktMTpwYXNz", ""),
    ("Basic", ""),
];

/// Returns what a line says behind the status.
fn group_and_product(group: &'static str, product: &str) -> &'static str {
    match (group, product) {
        ("shops", "residential") => "shops residential",
        ("shops", "isp") => "shops isp",
        ("other", "residential") => "other residential",
        ("other", "isp") => "other isp",
        _ => group,
    }
}

pub fn connection(chance: &mut Chance) -> Expected {
    let mut made = Maker { chance, steps: Vec::new(), exchanges: Vec::new() };
    let (ending, is_opaque) = match made.chance.below(10) {
        0 => made.socks(),
        1 => made.opaque(),
        _ => made.http(),
    };
    let script = Script { vendor: "vendor-a", steps: made.steps, ending };
    Expected { script, exchanges: made.exchanges, is_opaque }
}

struct Maker<'a> {
    chance: &'a mut Chance,
    steps: Vec<Step>,
    exchanges: Vec<String>,
}

/// A request as far as its answer depends on it.
struct Asked {
    is_connect: bool,
    is_head: bool,
    has_credentials: bool,
    group: &'static str,
}

impl Asked {
    fn visibility(&self) -> &'static str {
        if self.is_connect {
            "tunnel"
        } else {
            "http"
        }
    }
}

impl Maker<'_> {
    fn http(&mut self) -> (Ending, bool) {
        for _ in 0..1 + self.chance.below(4) {
            let together = if self.chance.one_in(4) { 1 + self.chance.below(5) } else { 1 };
            let asked: Vec<Asked> = (0..together).map(|_| self.request()).collect();
            if self.chance.one_in(12) {
                return self.unanswered(&asked);
            }
            for (number, one) in asked.iter().enumerate() {
                let is_last = number + 1 == asked.len();
                if let Some(end) = self.answer(one, is_last) {
                    return end;
                }
            }
            if self.chance.one_in(15) {
                return self.garbage();
            }
        }
        let farewell = self.chance.pick(&[&b""[..], b"\r\n", b"\n"]);
        self.steps.push(Step::C(farewell.to_vec()));
        (self.end(), false)
    }

    fn end(&mut self) -> Ending {
        match self.chance.below(4) {
            0 => self.steps.push(Step::CrawlerFin),
            1 => self.steps.push(Step::VendorFin),
            _ => {}
        }
        if self.chance.one_in(2) {
            Ending::CrawlerLeft
        } else {
            Ending::VendorLeft
        }
    }

    fn line_end(&mut self) -> &'static [u8] {
        if self.chance.one_in(8) {
            b"\n"
        } else {
            b"\r\n"
        }
    }

    fn request(&mut self) -> Asked {
        let method =
            self.chance.pick(&["GET", "GET", "POST", "HEAD", "CONNECT", "query", "M-SEARCH"]);
        let (host, group) = match self.chance.below(3) {
            0 => ("www.shop.test", "shops"),
            1 => ("SHOP.test.", "shops"),
            _ => ("elsewhere.test", "other"),
        };
        let path = self.chance.pick(&["/", "/a?b=c", "/\u{e9} \u{1f600}#x", "/:@//"]);
        let target = match (method, self.chance.below(3)) {
            ("CONNECT", _) => format!("{}:443", host),
            (_, 0) => path.to_string(),
            (_, 1) => format!("http://me:p@{}:8080{}", host, path),
            _ => format!("http://{}{}", host, path),
        };
        let end = self.line_end();
        let mut head = Vec::new();
        if self.chance.one_in(20) {
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(
            format!("{} {} HTTP/1.{}", method, target, self.chance.below(2)).as_bytes(),
        );
        head.extend_from_slice(end);
        head.extend_from_slice(
            format!("{}{}", self.chance.pick(&["Host: ", "host:", "HOST : "]), host).as_bytes(),
        );
        head.extend_from_slice(end);
        let has_credentials = self.chance.one_in(3);
        let mut product = "";
        if has_credentials {
            let (value, own) = AUTHORIZATIONS[self.chance.below(AUTHORIZATIONS.len())];
            head.extend_from_slice(format!("Proxy-Authorization: {}", value).as_bytes());
            head.extend_from_slice(end);
            product = own;
        }
        let delimiter = match (method, self.chance.below(4)) {
            ("CONNECT", 0) => {
                head.extend_from_slice(b"Content-Length: 5\r\n"); // a CONNECT has no body
                Delimiter::None
            }
            ("POST" | "query", 0) => Delimiter::Length,
            ("POST" | "query", 1) => Delimiter::Chunks,
            _ => Delimiter::None,
        };
        self.finish_message(&mut head, delimiter, end);
        self.steps.push(Step::C(head));
        Asked {
            is_connect: method == "CONNECT",
            is_head: method == "HEAD",
            has_credentials,
            group: group_and_product(group, product),
        }
    }

    /// Adds headers that do not matter, those that delimit a body, and the body.
    fn finish_message(&mut self, message: &mut Vec<u8>, delimiter: Delimiter, end: &[u8]) {
        for _ in 0..self.chance.below(4) {
            message.extend_from_slice(NOISE[self.chance.below(NOISE.len())]);
            message.extend_from_slice(end);
        }
        if self.chance.one_in(40) {
            message.extend_from_slice(b"X-Long: ");
            message.extend(std::iter::repeat(b'l').take(900 + self.chance.below(300)));
            message.extend_from_slice(end);
        }
        let body = self.body();
        match delimiter {
            Delimiter::Length => {
                message.extend_from_slice(format!("content-LENGTH:  {} ", body.len()).as_bytes());
                message.extend_from_slice(end);
            }
            Delimiter::Chunks => {
                if self.chance.one_in(3) {
                    message.extend_from_slice(b"Content-Length: 3"); // the chunks win
                    message.extend_from_slice(end);
                }
                message.extend_from_slice(b"Transfer-encoding: Chunked");
                message.extend_from_slice(end);
            }
            Delimiter::None | Delimiter::Close => {}
        }
        message.extend_from_slice(end);
        match delimiter {
            Delimiter::None => {}
            Delimiter::Chunks => self.write_chunks(message, &body),
            Delimiter::Length | Delimiter::Close => message.extend_from_slice(&body),
        }
    }

    fn body(&mut self) -> Vec<u8> {
        match self.chance.below(5) {
            0 => b"HTTP/1.1 500 no\r\nContent-Length: 3\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
            1 => b"\r\n0\r\n\r\n".to_vec(),
            2 => self.chance.bytes(6000),
            _ => self.chance.bytes(200),
        }
    }

    fn write_chunks(&mut self, message: &mut Vec<u8>, body: &[u8]) {
        let mut left = body;
        while !left.is_empty() {
            let size = (1 + self.chance.below(left.len())).min(1 + self.chance.below(4000));
            let (chunk, rest) = left.split_at(size);
            let end = self.line_end();
            let extension = self.chance.pick(&["", "", ";a", " ; b=\"c;\r\""]);
            message.extend_from_slice(format!("{:x}{}", size, extension).as_bytes());
            message.extend_from_slice(end);
            message.extend_from_slice(chunk);
            message.extend_from_slice(end);
            left = rest;
        }
        let end = self.line_end();
        message.extend_from_slice(self.chance.pick(&["0", "000", "0;x"]).as_bytes());
        message.extend_from_slice(end);
        for _ in 0..self.chance.below(3) {
            message.extend_from_slice(b"X-Trailer: 0");
            message.extend_from_slice(end);
        }
        message.extend_from_slice(end);
    }

    /// Answers a request; returns how the connection ends if it ends here.
    fn answer(&mut self, asked: &Asked, is_last: bool) -> Option<(Ending, bool)> {
        let mut interim = 0;
        for _ in 0..self.chance.below(6).saturating_sub(3) {
            interim = *self.chance.pick(&[&100, &102, &103]);
            let head = format!("HTTP/1.1 {} Wait\r\nX-Failed: no\r\n\r\n", interim);
            self.steps.push(Step::V(head.into_bytes()));
        }
        let status = self.status(asked);
        let is_granted = status == 101 || (asked.is_connect && (200..300).contains(&status));
        if is_granted {
            return Some(self.tunnel(asked, status));
        }
        let delimiter = match self.chance.below(3) {
            _ if asked.is_head || status == 204 || status == 304 => Delimiter::None,
            0 => Delimiter::Chunks,
            1 if is_last && self.chance.one_in(4) => Delimiter::Close,
            _ => Delimiter::Length,
        };
        let end = self.line_end();
        let mut message = format!("HTTP/1.{} {}", self.chance.below(2), status).into_bytes();
        message.extend_from_slice(self.chance.pick(&["", " OK", "  Not  \u{e9}"]).as_bytes());
        message.extend_from_slice(end);
        let outcome = self.outcome(asked, status, &mut message, end);
        if delimiter == Delimiter::None && self.chance.one_in(2) {
            message.extend_from_slice(b"Content-Length: 5\r\n"); // there is no body to this answer
        }
        self.finish_message(&mut message, delimiter, end);
        let line = format!("{} {} {} {}", asked.visibility(), outcome, status, asked.group);
        if is_last
            && delimiter != Delimiter::None
            && delimiter != Delimiter::Close
            && self.chance.one_in(10)
        {
            message.pop();
            let has_head = has_whole_head(&message);
            self.steps.push(Step::V(message));
            return Some(self.cut_answer(
                asked,
                &line,
                if has_head { status } else { interim },
                has_head,
            ));
        }
        self.steps.push(Step::V(message));
        self.exchanges.push(line);
        if delimiter == Delimiter::Close {
            self.steps.push(Step::VendorFin);
            return Some((Ending::CrawlerLeft, false));
        }
        None
    }

    fn status(&mut self, asked: &Asked) -> u16 {
        match self.chance.below(12) {
            0 => 407,
            1 => 429,
            2 => 503,
            3 => 404,
            4 => 999,
            5 if !asked.is_connect => 204,
            6 if !asked.is_connect => 304,
            7 if !asked.is_connect && self.chance.one_in(4) => 101,
            _ => 200,
        }
    }

    /// Writes the headers that decide, and returns the outcome.
    fn outcome(
        &mut self,
        asked: &Asked,
        status: u16,
        message: &mut Vec<u8>,
        end: &[u8],
    ) -> &'static str {
        let own = match status {
            429 => Some("rate_limited"),
            503 if self.chance.one_in(3) => {
                message.extend_from_slice(b"X-Why : There is no money left");
                message.extend_from_slice(end);
                Some("quota_exhausted")
            }
            _ => None,
        };
        let has_failed = self.chance.one_in(8);
        if has_failed {
            message.extend_from_slice(b"x-FAILED: ");
            message.extend_from_slice(end);
        }
        match (own, status) {
            (Some(outcome), _) => outcome,
            (None, 407) if asked.has_credentials => "auth_failed",
            (None, 407) => "auth_challenge",
            (None, _) if has_failed => "vendor_error",
            (None, _) if asked.is_connect => "vendor_error",
            (None, 0..=399) => "success",
            (None, _) => "target_error",
        }
    }

    /// A tunnel that stands. What looked like requests behind it is its content.
    fn tunnel(&mut self, asked: &Asked, status: u16) -> (Ending, bool) {
        let message = format!("HTTP/1.1 {} Fine\r\nContent-Length: 7\r\n\r\n", status);
        self.steps.push(Step::V(message.into_bytes()));
        self.exchanges.push(format!("{} success {} {}", asked.visibility(), status, asked.group));
        for _ in 0..self.chance.below(4) {
            let (up, down) = (self.chance.bytes(300), self.chance.bytes(300));
            self.steps.push(Step::C(up));
            self.steps.push(Step::V(down));
        }
        (self.end(), false)
    }

    /// An answer that lacks its last byte.
    fn cut_answer(
        &mut self,
        asked: &Asked,
        whole: &str,
        status: u16,
        has_head: bool,
    ) -> (Ending, bool) {
        let crawler_left = self.chance.one_in(2);
        let line = match (crawler_left, has_head) {
            (true, true) => whole.to_string(),
            (true, false) => {
                format!("{} client_cancelled {} {}", asked.visibility(), status, asked.group)
            }
            (false, _) => format!("{} reset {} {}", asked.visibility(), status, asked.group),
        };
        self.exchanges.push(line);
        match (crawler_left, self.chance.one_in(2)) {
            (true, true) => self.steps.extend([Step::CrawlerFin, Step::VendorFin]),
            (false, true) => self.steps.extend([Step::VendorFin, Step::CrawlerFin]),
            (true, false) => return (Ending::CrawlerLeft, false),
            (false, false) => return (Ending::VendorLeft, false),
        }
        (Ending::CrawlerLeft, false)
    }

    /// Requests that get no answer.
    fn unanswered(&mut self, asked: &[Asked]) -> (Ending, bool) {
        let is_first = self.exchanges.is_empty();
        let waits_ms = self.chance.pick(&[&0u64, &9_999, &10_000, &70_000]);
        self.steps.push(Step::WaitMs(*waits_ms));
        let (ending, outcome) = match self.chance.below(4) {
            0 if is_first => (Ending::ConnectFailed, "connect_failed"),
            1 if is_first => (Ending::ConnectTimedOut, "timeout"),
            2 => (Ending::VendorLeft, "reset"),
            _ if *waits_ms >= 10_000 => (Ending::CrawlerLeft, "timeout"),
            _ => (Ending::CrawlerLeft, "client_cancelled"),
        };
        for one in asked {
            self.exchanges.push(format!("{} {} 0 {}", one.visibility(), outcome, one.group));
        }
        (ending, false)
    }

    /// Bytes of a crawler that are no request.
    fn garbage(&mut self) -> (Ending, bool) {
        let mut bytes = vec![self.chance.pick(&[&0u8, &5, &0x16, &0x80, &b' '])]
            .into_iter()
            .copied()
            .collect::<Vec<u8>>();
        bytes.extend(self.chance.bytes(100));
        self.steps.push(Step::C(bytes));
        let answer = self.chance.bytes(100);
        self.steps.push(Step::V(answer));
        (self.end(), true)
    }

    fn opaque(&mut self) -> (Ending, bool) {
        if self.chance.one_in(3) {
            self.steps.push(Step::V(b"220 ready\r\n".to_vec()));
            let _ = self.request();
        } else {
            let start = self.chance.pick(&[
                &b"\x16\x03\x01"[..],
                b"\x04\x01",
                b"PRI * HTTP/2.0\r\n\r\n",
                b"SSH-2.0-x\r\n",
                b"GET /\r\n",
                b"\xff",
            ]);
            self.steps.push(Step::C(start.to_vec()));
        }
        for _ in 0..self.chance.below(4) {
            let (up, down) = (self.chance.bytes(300), self.chance.bytes(300));
            self.steps.push(Step::C(up));
            self.steps.push(Step::V(down));
        }
        (self.end(), true)
    }

    fn socks(&mut self) -> (Ending, bool) {
        self.steps.push(Step::C(b"\x05\x02\x00\x02".to_vec()));
        if self.chance.one_in(6) {
            self.steps.push(Step::V(b"\x05\xff".to_vec()));
            self.exchanges.push("socks auth_failed 0 other".into());
            return (self.end(), false);
        }
        let mut product = "";
        if self.chance.one_in(2) {
            self.steps.push(Step::V(b"\x05\x02".to_vec()));
            let (login, own) = match self.chance.below(3) {
                0 => (&b"\x01\x03you\x06secret"[..], ""),
                1 => (&b"\x01\x04resi\x00"[..], "isp"),
                _ => (&b"\x01\x0b-zone-resi-\x05s:cet"[..], "residential"),
            };
            product = own;
            self.steps.push(Step::C(login.to_vec()));
            let is_refused = self.chance.one_in(4);
            self.steps.push(Step::V(vec![1, u8::from(is_refused)]));
            if is_refused {
                let group = group_and_product("other", product);
                self.exchanges.push(format!("socks auth_failed 0 {}", group));
                return (self.end(), false);
            }
        } else {
            self.steps.push(Step::V(b"\x05\x00".to_vec()));
        }
        let (address, group) = match self.chance.below(3) {
            0 => (&b"\x03\x0dwww.shop.test"[..], "shops"),
            1 => (&b"\x01\x0a\x00\x00\x01"[..], "other"),
            _ => (
                &b"\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"[..],
                "other",
            ),
        };
        let group = group_and_product(group, product);
        self.steps.push(Step::C([b"\x05\x01\x00", address, b"\x01\xbb"].concat()));
        if self.chance.one_in(6) {
            self.exchanges.push(format!("socks reset 0 {}", group));
            return (Ending::VendorLeft, false);
        }
        let code = self.chance.pick(&[&0u8, &0, &0, &1, &5, &200]);
        let outcome = if *code == 0 { "success" } else { "connect_failed" };
        self.steps.push(Step::V([b"\x05", &[*code][..], b"\x00", address, b"\x00\x00"].concat()));
        self.exchanges.push(format!("socks {} 0 {}", outcome, group));
        let (up, down) = (self.chance.bytes(300), self.chance.bytes(300));
        self.steps.extend([Step::C(up), Step::V(down)]);
        (self.end(), false)
    }
}

fn has_whole_head(message: &[u8]) -> bool {
    message.windows(4).any(|four| four == b"\r\n\r\n")
        || message.windows(2).any(|two| two == b"\n\n")
}
