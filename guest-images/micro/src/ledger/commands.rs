//! The ledger's commands. Each is about one key.

use alloc::format;
use alloc::string::ToString;

use super::service::{Answer, refuse};
use super::{Ledger, State, Trouble, Wait};
use crate::command::{ANY, Command, NOT_AN_INTEGER, command, common, integer, take};
use crate::resp::{Arguments, Reply};

/// In the order in which they are looked for: the frequent ones first.
pub(super) static COMMANDS: [Command<Ledger>; 20] = [
    command("get", 1, 1, get),
    command("set", 2, 2, set),
    command("incr", 1, 1, incr),
    command("incrby", 2, 2, incrby),
    command("decr", 1, 1, decr),
    command("append", 2, 2, append),
    command("del", 1, 1, del),
    command("exists", 1, 1, exists),
    command("ping", 0, 1, common::ping),
    command("echo", 1, 1, common::echo),
    command("dbsize", 0, 0, dbsize),
    command("info", 0, ANY, info),
    command("config", 1, ANY, config),
    command("command", 0, ANY, commands),
    command("client", 1, ANY, common::client),
    command("hello", 0, ANY, common::hello),
    command("select", 1, 1, common::select),
    command("quit", 0, ANY, common::quit),
    command("reset", 0, 0, common::reset),
    command("shutdown", 0, 1, shutdown),
];

impl Ledger {
    /// Replies when the last change of a record lasts: at once when it does already.
    fn answer_after(&mut self, number: u32, answer: Answer, reply: &mut Reply) {
        let record = &self.records[number as usize];
        if record.batch <= self.batches.ended {
            return answer.give(reply);
        }
        let (sequence, batch) = (record.sequence, record.batch);
        self.wait = Some(Wait::Change { record: number, sequence, batch, answer });
    }

    /// Changes a key, and replies when that lasts.
    fn change_and_answer(&mut self, key: &[u8], value: Option<&[u8]>, answer: Answer, reply: &mut Reply) {
        match self.change(key, value) {
            Ok(number) => self.answer_after(number, answer, reply),
            Err(trouble) => refuse(trouble, reply),
        }
    }

    /// What a key's value is for a change of it.
    fn value_of(&self, key: &[u8]) -> Result<Option<&[u8]>, Trouble> {
        let record = self.find(key)?.map(|number| &self.records[number as usize]);
        Ok(record.filter(|record| record.state == State::Held).map(|record| record.value.as_slice()))
    }
}

fn get(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    let number = match ledger.find(key) {
        Ok(Some(number)) => number,
        Ok(None) => return reply.null(),
        Err(trouble) => return refuse(trouble, reply),
    };
    let record = &mut ledger.records[number as usize];
    if record.state == State::Erased {
        ledger.answer_after(number, Answer::Null, reply);
    } else if record.batch > ledger.batches.ended {
        let answer = Answer::Value(record.value.clone());
        ledger.answer_after(number, answer, reply);
    } else {
        ledger.wait = Some(Wait::Read(ledger.batches.read(record, number)));
    }
}

fn set(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key, value] = take(arguments);
    ledger.change_and_answer(key, Some(value), Answer::Ok, reply);
}

fn incr(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    add(ledger, key, 1, reply);
}

fn decr(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    add(ledger, key, -1, reply);
}

fn incrby(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key, difference] = take(arguments);
    match integer(difference) {
        Some(difference) => add(ledger, key, difference, reply),
        None => reply.error(NOT_AN_INTEGER),
    }
}

fn add(ledger: &mut Ledger, key: &[u8], difference: i64, reply: &mut Reply) {
    let number = ledger.value_of(key).and_then(|value| {
        let number = value.map_or(Some(0), integer);
        number.and_then(|number| number.checked_add(difference)).ok_or(Trouble::NoNumber)
    });
    match number {
        Ok(sum) => {
            let digits = sum.to_string();
            ledger.change_and_answer(key, Some(digits.as_bytes()), Answer::Integer(sum), reply);
        }
        Err(trouble) => refuse(trouble, reply),
    }
}

fn append(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key, bytes] = take(arguments);
    match ledger.value_of(key) {
        Ok(value) => {
            let value = [value.unwrap_or_default(), bytes].concat();
            ledger.change_and_answer(key, Some(&value), Answer::Integer(value.len() as i64), reply);
        }
        Err(trouble) => refuse(trouble, reply),
    }
}

fn del(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    // A lost record can be deleted, and is there again for other keys.
    let lost = ledger
        .index
        .get(key)
        .filter(|&&number| matches!(ledger.records[number as usize].state, State::Lost(_)));
    if lost.is_some() {
        return ledger.change_and_answer(key, None, Answer::Integer(1), reply);
    }
    match ledger.find(key) {
        Ok(None) => reply.integer(0),
        Ok(Some(number)) if ledger.records[number as usize].state == State::Erased => {
            ledger.answer_after(number, Answer::Integer(0), reply);
        }
        Ok(Some(_)) => ledger.change_and_answer(key, None, Answer::Integer(1), reply),
        Err(trouble) => refuse(trouble, reply),
    }
}

fn exists(ledger: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    match ledger.find(key) {
        Ok(None) => reply.integer(0),
        Ok(Some(number)) => {
            let held = ledger.records[number as usize].state == State::Held;
            ledger.answer_after(number, Answer::Integer(i64::from(held)), reply);
        }
        Err(trouble) => refuse(trouble, reply),
    }
}

fn dbsize(ledger: &mut Ledger, _: Arguments, reply: &mut Reply) {
    reply.integer(ledger.len() as i64);
}

fn info(ledger: &mut Ledger, _: Arguments, reply: &mut Reply) {
    let text = format!(
        "# Server\r\nredis_version:{}\r\nos:ftvmm micro\r\n\r\n# Ledger\r\nrecords:{}\r\nkeys:{}\r\nchanges:{}\r\nbatches:{}\r\n",
        common::VERSION,
        ledger.records(),
        ledger.len(),
        ledger.sequence,
        ledger.batches.ended
    );
    reply.bulk(text.as_bytes());
}

fn config(_: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    // What redis-benchmark asks for: every change lasts when it is answered.
    common::config(&[("appendonly", "yes"), ("save", "")], arguments, reply);
}

fn commands(_: &mut Ledger, arguments: Arguments, reply: &mut Reply) {
    common::command(COMMANDS.len(), arguments, reply);
}

/// Switches the guest off when everything lasts that was asked for before, or with RESTART begins again.
fn shutdown(ledger: &mut Ledger, mut arguments: Arguments, reply: &mut Reply) {
    ledger.restarting = arguments.next().is_some_and(|how| how.eq_ignore_ascii_case(b"RESTART"));
    ledger.ending = true;
    if ledger.is_ended() {
        return reply.ok();
    }
    ledger.wait = Some(Wait::End);
}
