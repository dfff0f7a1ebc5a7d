//! Many sessions in one pass say what each would say alone, whoever is beside them.

use loquat::base::{ErrorKind, MemoryCategory};
use loquat::model::{LoadOptions, Model};
use loquat::runtime::{Runtime, RuntimeOptions, Threads};
use loquat::sampling::SamplerConfig;
use loquat::session::{Batch, BatchOptions, BatchStep, DoneReason, KvType, Session, SessionOptions, Step};
use test_support::{demo, tokens};

fn load(threads: usize, memory_limit: Option<u64>) -> Model {
    let runtime = Runtime::new(RuntimeOptions { threads: Threads::Count(threads), memory_limit, ..Default::default() }).unwrap();
    Model::load(&runtime, &demo("emberfield-3m-q8_0.gguf"), LoadOptions::default()).unwrap()
}

/// What one session of a test is: its prompt, and options that differ from those of its neighbours.
struct Case {
    prompt: Vec<u32>,
    options: SessionOptions,
}

fn cases() -> Vec<Case> {
    let kv_types = [KvType::F16, KvType::F32, KvType::Bf16, KvType::Q8_0];
    (0..9)
        .map(|i| {
            let prompt = tokens(i, 1 + i * 23);
            let sampler = match i % 3 {
                0 => SamplerConfig::greedy(),
                _ => SamplerConfig { temperature: 0.9, repetition_penalty: 1.1, seed: i as u64, ..Default::default() },
            };
            let options = SessionOptions {
                context: 300,
                batch: 64,
                kv_type: kv_types[i % 4],
                reserve: i % 2 == 0,
                max_tokens: Some(5 + i as u32 * 2),
                ignore_eog: i % 4 != 3,
                sampler,
                ..Default::default()
            };
            Case { prompt, options }
        })
        .collect()
}

/// Everything that can be seen of a turn.
#[derive(Debug, PartialEq, Clone, Default)]
struct Said {
    ids: Vec<u32>,
    text: Vec<u8>,
    done: Option<DoneReason>,
    logits: Vec<u32>,
}

impl Said {
    fn take(&mut self, session: &Session, step: &Step) {
        match step {
            Step::Token { id } => self.ids.push(*id),
            Step::Done { reason, .. } => self.done = Some(*reason),
            other => panic!("{other:?}"),
        }
        self.text.extend_from_slice(session.text());
        self.logits.extend(session.logits().unwrap().iter().take(50).map(|x| x.to_bits()));
    }
}

fn alone(model: &Model, case: &Case) -> Said {
    let mut session = Session::new(model, &case.options).unwrap();
    session.append(&case.prompt).unwrap();
    let mut said = Said::default();
    while said.done.is_none() {
        let step = session.step(u64::MAX).unwrap();
        said.take(&session, &step);
    }
    said
}

#[test]
fn bits_are_those_of_each_alone() {
    let cases = cases();
    let model = load(1, None);
    let expected: Vec<Said> = cases.iter().map(|case| alone(&model, case)).collect();
    let plain = BatchOptions { sessions: 9, columns: 512, prompt_share: 64 };
    for (threads, options, budget) in [
        (2, plain, u64::MAX),
        (1, plain, 0),
        (2, BatchOptions { columns: 20, prompt_share: 7, ..plain }, 50_000),
        (2, BatchOptions { sessions: 2, columns: 40, prompt_share: 16 }, u64::MAX),
    ] {
        let model = load(threads, None);
        let mut batch = Batch::new(&model, options).unwrap();
        let mut sessions: Vec<Session> = cases.iter().map(|case| Session::new(&model, &case.options).unwrap()).collect();
        for (session, case) in sessions.iter_mut().zip(&cases) {
            session.append(&case.prompt).unwrap();
        }
        let mut said = vec![Said::default(); cases.len()];
        loop {
            let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
            match batch.step(&mut all, budget).unwrap() {
                BatchStep::Pending => continue,
                BatchStep::Idle => break,
                BatchStep::Events => {}
            }
            for event in batch.events() {
                said[event.session].take(&sessions[event.session], event.result.as_ref().unwrap());
            }
        }
        assert_eq!(said, expected, "{threads} threads, {options:?}, budget {budget}");
    }
}

#[test]
fn sessions_come_and_go_step_alone_and_are_changed_in_between() {
    let cases = cases();
    let model = load(2, None);
    let expected: Vec<Said> = cases.iter().map(|case| alone(&model, case)).collect();
    let mut batch = Batch::new(&model, BatchOptions { sessions: 4, columns: 32, prompt_share: 8 }).unwrap();
    let mut sessions: Vec<Session> = cases.iter().map(|case| Session::new(&model, &case.options).unwrap()).collect();
    let mut said = vec![Said::default(); cases.len()];
    // A generator of its own, so that every run does the same.
    let mut state = 12345u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    let mut rounds = 0;
    while said.iter().any(|said| said.done.is_none()) {
        rounds += 1;
        assert!(rounds < 200_000);
        let index = random(9) as usize;
        match random(20) {
            0 if !sessions[index].tokens().is_empty() && said[index].done.is_none() => {
                // Its own step, in the middle of a pass of the batch.
                let step = sessions[index].step(20_000).unwrap();
                if step != Step::Pending {
                    said[index].take(&sessions[index], &step);
                }
            }
            1 => {
                // Begin again, or begin at all.
                sessions[index].reset().unwrap();
                sessions[index].append(&cases[index].prompt).unwrap();
                said[index] = Said::default();
            }
            2 if !sessions[index].tokens().is_empty() => {
                // Another takes its place.
                sessions[index] = sessions[index].fork().unwrap();
            }
            _ => {}
        }
        let present: Vec<usize> = (0..9).filter(|_| random(4) > 0).collect();
        let budget = [0, 30_000, 100_000, u64::MAX][random(4) as usize];
        let mut chosen: Vec<&mut Session> =
            sessions.iter_mut().enumerate().filter(|(index, _)| present.contains(index)).map(|(_, session)| session).collect();
        if batch.step(&mut chosen, budget).unwrap() == BatchStep::Events {
            for event in batch.events() {
                let index = present[event.session];
                said[index].take(&sessions[index], event.result.as_ref().unwrap());
            }
        }
    }
    assert_eq!(said, expected);
}

#[test]
fn a_long_prompt_keeps_nobody_waiting() {
    let model = load(2, None);
    let options = SessionOptions { ignore_eog: true, ..Default::default() };
    let (mut talker, mut reader) = (Session::new(&model, &options).unwrap(), Session::new(&model, &options).unwrap());
    let ids = tokens(0, 400);
    talker.append(&ids[300..305]).unwrap();
    reader.append(&ids).unwrap();
    let mut batch = Batch::new(&model, BatchOptions { sessions: 2, columns: 128, prompt_share: 16 }).unwrap();
    let (mut before, mut said) = (0, 0);
    while reader.position() < ids.len() {
        assert_eq!(batch.step(&mut [&mut talker, &mut reader], u64::MAX).unwrap(), BatchStep::Events);
        said += batch.events().iter().filter(|event| event.session == 0).count();
        assert!(said == 1 || reader.position() - before <= 16);
        before = reader.position();
    }
    assert!(said >= 20);
}

/// More sessions than a pass has columns: those that generate do not keep a prompt from being computed.
#[test]
fn all_have_their_turn() {
    let model = load(2, None);
    let options = SessionOptions { ignore_eog: true, max_tokens: Some(100), ..Default::default() };
    let mut sessions: Vec<Session> = (0..4).map(|_| Session::new(&model, &options).unwrap()).collect();
    let mut batch = Batch::new(&model, BatchOptions { sessions: 2, columns: 2, prompt_share: 1 }).unwrap();
    for session in &mut sessions[..3] {
        session.append(&tokens(0, 1)).unwrap();
    }
    let mut said = [0; 4];
    for round in 0..400 {
        if round == 20 {
            sessions[3].append(&tokens(1, 30)).unwrap();
        }
        let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
        batch.step(&mut all, u64::MAX).unwrap();
        for event in batch.events() {
            said[event.session] += 1;
        }
        if said[3] > 0 {
            break;
        }
    }
    assert!(said[3] > 0 && said[..3].iter().all(|&said| said > 10 && said < 100), "{said:?}");
}

#[test]
fn what_fails_or_is_cancelled_hurts_no_other() {
    let model = load(2, None);
    let case = &cases()[6];
    let expected = alone(&model, case);
    let page = {
        let mut session = Session::new(&model, &case.options).unwrap();
        session.append(&[5]).unwrap();
        session.step(u64::MAX).unwrap();
        drop(session);
        model.runtime().budget().private_used()
    };
    // Little more memory than the sessions have: the one that grows meets the limit.
    let growing = SessionOptions { reserve: false, max_tokens: Some(200), ..case.options.clone() };
    let needed = |sessions: &[&SessionOptions]| {
        let model = load(2, None);
        let _batch = Batch::new(&model, BatchOptions::default()).unwrap();
        let _all: Vec<Session> = sessions.iter().map(|options| Session::new(&model, options).unwrap()).collect();
        model.runtime().budget().private_used()
    };
    let limit = needed(&[&case.options, &growing, &case.options]) + page / 100 + 30_000;
    let model = load(2, Some(limit));
    let mut batch = Batch::new(&model, BatchOptions::default()).unwrap();
    let mut good = Session::new(&model, &case.options).unwrap();
    let mut bad = Session::new(&model, &growing).unwrap();
    let mut cancelled = Session::new(&model, &case.options).unwrap();
    for session in [&mut good, &mut bad, &mut cancelled] {
        session.append(&case.prompt).unwrap();
    }
    cancelled.cancel_handle().cancel();
    let (mut said, mut failure, mut cancellations) = (Said::default(), None, 0);
    while said.done.is_none() {
        let step = match cancellations {
            0 => batch.step(&mut [&mut good, &mut bad, &mut cancelled], u64::MAX),
            _ => batch.step(&mut [&mut good, &mut bad], u64::MAX),
        };
        assert_eq!(step.unwrap(), BatchStep::Events);
        for event in batch.events() {
            match (event.session, &event.result) {
                (0, result) => said.take(&good, result.as_ref().unwrap()),
                (1, Err(error)) => failure = Some(error.kind()),
                (2, Ok(Step::Cancelled)) => cancellations += 1,
                (1, Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((said, failure, cancellations), (expected.clone(), Some(ErrorKind::OutOfMemory), 1));
    // The one that failed goes on where it was, once there is memory.
    drop((good, batch));
    let mut said = Said::default();
    cancelled.reset().unwrap();
    drop(cancelled);
    bad.append(&[]).unwrap();
    bad.set_max_tokens(case.options.max_tokens);
    while said.done.is_none() {
        let step = bad.step(u64::MAX).unwrap();
        said.take(&bad, &step);
    }
    assert_eq!(said.ids, expected.ids[..said.ids.len()]);
}

#[test]
fn a_common_beginning_is_computed_once() {
    let model = load(2, None);
    let ids = tokens(0, 200);
    let options = SessionOptions { reserve: false, context: 300, batch: 1, max_tokens: Some(4), ignore_eog: true, ..Default::default() };
    let prompts: Vec<Vec<u32>> = (0..12).map(|i| ids.iter().copied().chain([10 + i, 11, 12]).collect()).collect();
    let lonely = SessionOptions { prefix_reuse: false, batch: 64, ..options.clone() };
    let expected: Vec<Said> =
        prompts.iter().map(|prompt| alone(&model, &Case { prompt: prompt.clone(), options: lonely.clone() })).collect();
    assert_eq!(model.prefixes().stats().pages, 0);
    let before = model.runtime().budget().used(MemoryCategory::KvCache);
    let mut batch = Batch::new(&model, BatchOptions { sessions: 12, ..Default::default() }).unwrap();
    let mut sessions: Vec<Session> = prompts.iter().map(|_| Session::new(&model, &options).unwrap()).collect();
    for (session, prompt) in sessions.iter_mut().zip(&prompts) {
        session.append(prompt).unwrap();
    }
    let mut said = vec![Said::default(); 12];
    loop {
        let mut all: Vec<&mut Session> = sessions.iter_mut().collect();
        match batch.step(&mut all, u64::MAX).unwrap() {
            BatchStep::Events => {}
            BatchStep::Idle => break,
            BatchStep::Pending => unreachable!("no budget"),
        }
        for event in batch.events() {
            said[event.session].take(&sessions[event.session], event.result.as_ref().unwrap());
        }
    }
    assert_eq!(said, expected);
    // 200 tokens are six pages and a part: six are shared, each session has one of its own.
    let stats = model.prefixes().stats();
    assert_eq!((stats.pages, stats.reused_positions), (6, 11 * 6 * 32));
    let page = stats.bytes / 6;
    assert_eq!(model.runtime().budget().used(MemoryCategory::KvCache) - before, (6 + 12) * page);
    // A session that comes later begins with them too, and the index lets go where memory is short.
    let mut late = Session::new(&model, &options).unwrap();
    late.append(&prompts[0]).unwrap();
    late.step(u64::MAX).unwrap();
    assert_eq!(model.prefixes().stats().reused_positions, 12 * 6 * 32);
    drop((late, sessions));
    assert_eq!(model.runtime().budget().used(MemoryCategory::KvCache) - before, 6 * page);
    assert_eq!(model.runtime().trim(), 6 * page);
    assert_eq!(model.runtime().budget().used(MemoryCategory::KvCache), before);
}

#[test]
fn options_and_strangers_are_refused() {
    let (model, other) = (load(1, None), load(1, None));
    for (sessions, columns, prompt_share) in [(0, 10, 1), (11, 10, 1), (1, 1, 0), (5000, 5000, 1)] {
        let error = Batch::new(&model, BatchOptions { sessions, columns, prompt_share }).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let mut batch = Batch::new(&model, BatchOptions::default()).unwrap();
    let mut stranger = Session::new(&other, &SessionOptions::default()).unwrap();
    assert_eq!(batch.step(&mut [&mut stranger], 0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut keeps_all = Session::new(&model, &SessionOptions { all_logits: true, ..Default::default() }).unwrap();
    assert_eq!(batch.step(&mut [&mut keeps_all], 0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(batch.step::<&mut Session>(&mut [], u64::MAX).unwrap(), BatchStep::Idle);
}

/// Sampling takes time: with a budget that is spent, one session has its token, and the others theirs with the next steps.
#[test]
fn a_step_whose_budget_is_spent_samples_for_one_session() {
    let model = load(1, None);
    let options = SessionOptions { context: 100, max_tokens: Some(6), ignore_eog: true, ..Default::default() };
    let mut batch = Batch::new(&model, BatchOptions::default()).unwrap();
    let mut sessions: Vec<_> = (0..4).map(|_| Box::new(Session::new(&model, &options).unwrap())).collect();
    sessions.iter_mut().enumerate().for_each(|(i, session)| session.append(&tokens(i, 5)).unwrap());
    let (mut ids, mut over) = (vec![vec![]; 4], 0);
    while over < 4 {
        match batch.step(&mut sessions, 1).unwrap() {
            BatchStep::Events => {
                assert_eq!(batch.events().len(), 1);
                match &batch.events()[0].result {
                    Ok(Step::Token { id }) => ids[batch.events()[0].session].push(*id),
                    Ok(Step::Done { .. }) => over += 1,
                    other => panic!("{other:?}"),
                }
            }
            BatchStep::Pending => {}
            BatchStep::Idle => panic!("sessions have something to do"),
        }
    }
    for (i, ids) in ids.iter().enumerate() {
        let mut alone = Session::new(&model, &options).unwrap();
        alone.append(&tokens(i, 5)).unwrap();
        let expected: Vec<_> = (0..6).map(|_| alone.step(u64::MAX).unwrap()).collect();
        assert_eq!(ids.iter().map(|&id| Step::Token { id }).collect::<Vec<_>>(), expected);
    }
}
