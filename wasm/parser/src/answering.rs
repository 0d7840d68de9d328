//! The vendor's direction: answers, a SOCKS5 handshake, or bytes that only pass.

use crate::asking::Asking;
use crate::body::Body;
use crate::connection::{label_of_bytes, Around, Connection};
use crate::head::{may_be_answer, AnswerHead, Unreadable};
use crate::line::Piece;
use crate::outcome::{Answer, BAD_ANSWER};
use crate::queue::Pending;
use crate::socks::Answered;
use crate::{Exchange, Side, Visibility, HEAD_LIMIT};

const EXPECTATION_FAILED: u16 = 417;

/// What the vendor's next bytes are.
pub enum Answering {
    /// An answer's head, or blank lines before it.
    Head(Option<AnswerHead>),
    Body(Body),
    Socks(Answered),
    /// The content of a tunnel.
    Passing,
    Unread,
}

impl Connection {
    pub(crate) fn pass_answer(&mut self, most: usize, around: &mut Around) -> usize {
        let mut has_ended = false;
        let count = match &mut self.answering {
            Answering::Passing | Answering::Unread => most as u64,
            Answering::Body(body) => {
                let count = body.passing().min(most as u64);
                has_ended = count > 0 && body.pass(count);
                count
            }
            Answering::Head(_) | Answering::Socks(_) => 0,
        };
        self.down.add(count);
        if has_ended {
            self.end_answer(around);
        }
        count as usize
    }

    /// Reads bytes; returns how many were used. 0 is for what cannot be read.
    pub(crate) fn read_answer(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        match &mut self.answering {
            Answering::Head(_) => match self.answer.has_begun {
                true => self.read_answer_head(bytes, around),
                false => self.begin_answer(bytes, around),
            },
            Answering::Body(body) => {
                let (used, has_ended) = body.feed(bytes);
                self.down.add(used as u64);
                if has_ended {
                    self.end_answer(around);
                }
                used
            }
            Answering::Socks(_) => self.read_socks_answer(bytes, around),
            Answering::Passing | Answering::Unread => 0,
        }
    }

    /// Passes over blank lines between answers, and looks whether an answer is due.
    fn begin_answer(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        let is_due = !self.queue.is_empty();
        if is_due || self.has_counted {
            let is_blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
            let blank = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
            if blank > 0 {
                self.down.add(blank as u64);
                return blank;
            }
        }
        if !is_due {
            return 0; // nobody asked
        }
        self.answer.has_begun = true;
        self.read_answer_head(bytes, around)
    }

    fn read_answer_head(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        let head = match &mut self.answering {
            Answering::Head(head) => head,
            _ => return 0,
        };
        let (used, piece) = match self.answer.lines.next(bytes) {
            Some(cut) => cut,
            None => return 0,
        };
        let mut ended = None;
        match (piece, head) {
            (Piece::Start(_), Some(_)) => {}
            (Piece::Start(start), None) if may_be_answer(start) => {}
            (Piece::Start(_), None) => return 0,
            (Piece::Line(line), first @ None) => {
                *first = AnswerHead::from_line(&line);
                if first.is_none() {
                    return 0;
                }
            }
            (Piece::Line(line), Some(head)) if line.is_empty() => ended = Some(*head),
            (Piece::Line(line), Some(head)) => head.read(&line, around.config, self.vendor),
        }
        self.answer.grow(used);
        if self.answer.size > HEAD_LIMIT {
            return 0;
        }
        self.down.hold(used as u64);
        if let Some(head) = ended {
            self.end_answer_head(&head, around);
        }
        used
    }

    fn end_answer_head(&mut self, head: &AnswerHead, around: &mut Around) {
        self.answer.clear();
        self.answering = Answering::Head(None);
        self.interim = if head.is_interim() { head.status } else { 0 };
        let pending = match self.queue.front() {
            Some(pending) if !head.is_interim() => *pending,
            _ => return,
        };
        let exchange = self.exchange(&pending, head, around);
        let is_tunnel = pending.label.visibility == Visibility::Tunnel;
        let is_granted = is_tunnel && (200..300).contains(&head.status);
        let label = label_of_bytes(pending.label, exchange.outcome, is_granted, around.config);
        if is_granted || head.status == 101 {
            // Not `end_answer`: what the crawler sent early, however odd, is the tunnel's.
            self.count_exchange(&exchange, around);
            self.pass_all(label, around);
            return;
        }
        self.label(Side::Vendor, label, around);
        let sent = self.queue.front_mut().map_or(0, |front| core::mem::take(&mut front.sent));
        self.settle(sent, label, around);
        self.answered = Some(exchange);
        if head.status == EXPECTATION_FAILED && self.is_body_awaited && self.queue.has_no_more() {
            // The crawler keeps the body, and sends the request again (RFC 9110, 10.1.1).
            self.asking = Asking::Head(None);
        }
        let body = match head.status {
            _ if pending.is_head => Ok(None),
            204 | 304 => Ok(None), // whatever length it names
            _ => head.framing.of_answer(),
        };
        match body {
            Ok(None) => self.end_answer(around),
            Ok(Some(body)) => self.answering = Answering::Body(body),
            Err(Unreadable) => self.stop_reading(Side::Vendor, around),
        }
    }

    fn exchange(&self, pending: &Pending, head: &AnswerHead, around: &mut Around) -> Exchange {
        let answer = Answer {
            status: head.status,
            is_tunnel: pending.label.visibility == Visibility::Tunnel,
            had_credentials: pending.had_credentials,
        };
        Exchange {
            label: pending.label,
            outcome: around.config.outcome(self.vendor, answer, head.met, head.met_own),
            status: head.status,
            setup_ms: Some(around.host.now_ms().saturating_sub(pending.start_ms)),
        }
    }

    /// Counts the request whose answer has ended.
    pub(crate) fn end_answer(&mut self, around: &mut Around) {
        self.answering = Answering::Head(None);
        self.pop_answered();
        if let Some(exchange) = self.answered.take() {
            self.count_exchange(&exchange, around);
        }
        self.label_unread(around);
    }

    fn read_socks_answer(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        let answered = match &mut self.answering {
            Answering::Socks(answered) => answered,
            _ => return 0,
        };
        let pending = match self.queue.front() {
            Some(pending) => *pending,
            None => return 0, // the vendor spoke before the greeting was complete
        };
        let (used, outcome) = match answered.feed(bytes, around.config) {
            Ok(read) => read,
            Err(Unreadable) => {
                // A method whose messages are not clear text: nothing bad about the answer.
                let sent = self.queue.clear();
                self.up.hold(sent);
                return 0;
            }
        };
        self.down.hold(used as u64);
        if let Some(outcome) = outcome {
            let has_answered = outcome != BAD_ANSWER;
            let waited = around.host.now_ms().saturating_sub(pending.start_ms);
            let exchange = Exchange {
                label: pending.label,
                outcome,
                status: 0,
                setup_ms: if has_answered { Some(waited) } else { None },
            };
            self.count_exchange(&exchange, around);
            self.pass_all(label_of_bytes(pending.label, outcome, true, around.config), around);
        }
        used
    }
}
