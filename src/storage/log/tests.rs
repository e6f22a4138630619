use super::*;

fn states(log: &WriteLog, plan: CrashPlan) -> Vec<(usize, Loss, Vec<Vec<u8>>)> {
    let contents = |crash: &Crash| crash.files.iter().map(|file| file.to_vec()).collect();
    log.crashes(plan)
        .map(|crash| (crash.position, crash.loss, contents(&crash)))
        .collect()
}

const IN_ORDER: CrashPlan = CrashPlan {
    orders: 8,
    torn: 0,
    seed: 1,
};

#[test]
fn every_prefix_and_every_order() {
    let log = WriteLog::new();
    let file = log.storage(vec![0; 4]);
    file.write_at(&[1], 0).unwrap();
    file.write_at(&[2], 1).unwrap();
    file.write_at(&[3], 2).unwrap();
    file.flush().unwrap();
    file.write_at(&[4], 3).unwrap();
    let found: Vec<_> = states(&log, IN_ORDER)
        .into_iter()
        .map(|(position, loss, mut files)| (position, loss, files.remove(0)))
        .collect();
    assert_eq!(
        found,
        [
            (1, Loss::Nothing, vec![1, 0, 0, 0]),
            (2, Loss::Nothing, vec![1, 2, 0, 0]),
            (2, Loss::Earlier { kept: 1 }, vec![0, 2, 0, 0]),
            (3, Loss::Nothing, vec![1, 2, 3, 0]),
            (3, Loss::Earlier { kept: 1 }, vec![0, 0, 3, 0]),
            (3, Loss::Everything, vec![0; 4]),
            (3, Loss::Earlier { kept: 2 }, vec![0, 2, 3, 0]),
            (3, Loss::One(1), vec![1, 0, 3, 0]),
            (4, Loss::Nothing, vec![1, 2, 3, 0]),
            (5, Loss::Nothing, vec![1, 2, 3, 4]),
            (5, Loss::Everything, vec![1, 2, 3, 0]),
        ]
    );
}

#[test]
fn a_flush_is_of_one_file() {
    let log = WriteLog::new();
    let (first, second) = (log.storage(vec![0]), log.storage(vec![0]));
    first.write_at(&[1], 0).unwrap();
    second.write_at(&[2], 0).unwrap();
    second.flush().unwrap();
    let all = states(&log, IN_ORDER);
    let last = all.last().unwrap();
    assert_eq!(last.1, Loss::Everything);
    assert_eq!(last.2, [vec![0], vec![2]]);
}

#[test]
fn lengths_holes_and_what_is_done_after_a_crash_are_taken_back() {
    let log = WriteLog::new();
    let file = log.storage(vec![9; 8]);
    file.set_len(4).unwrap();
    file.write_at(&[1; 4], 6).unwrap();
    file.punch_hole(0..2).unwrap();
    file.write_zeroes(8..12).unwrap();
    file.allocate(0..16).unwrap();
    let mut seen = Vec::new();
    for crash in log.crashes(IN_ORDER) {
        seen.push((crash.loss, crash.files[0].to_vec()));
        crash.files[0].write_at(&[7; 64], 2).unwrap();
        crash.files[0].set_len(1).unwrap();
    }
    let first = &seen[0];
    assert_eq!(first.1, [9; 4]);
    let whole = seen.iter().rfind(|(loss, _)| *loss == Loss::Nothing);
    assert_eq!(
        whole.unwrap().1,
        [0, 0, 9, 9, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(whole.unwrap().1, file.to_vec());
    let without_length = seen
        .iter()
        .find(|(loss, _)| *loss == Loss::Earlier { kept: 4 });
    assert_eq!(
        without_length.unwrap().1,
        [0, 0, 9, 9, 9, 9, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn torn_writes_are_torn_between_sectors_and_the_same_every_time() {
    let log = WriteLog::new();
    let file = log.storage(vec![0; 8192]);
    file.write_at(&[1; 4000], 500).unwrap();
    let plan = CrashPlan {
        torn: 100,
        ..IN_ORDER
    };
    let all = states(&log, plan);
    assert!(all.len() > 60, "only {} of 100", all.len());
    for (_, _, files) in &all {
        for (index, sector) in files[0].chunks(512).enumerate() {
            let start = 500.max(index * 512);
            let written = 4500.min(index * 512 + 512).saturating_sub(start);
            let ones = sector.iter().filter(|byte| **byte == 1).count();
            assert!(ones == 0 || ones == written, "sector {index}");
        }
    }
    let parts: std::collections::HashSet<_> = all.iter().map(|(_, _, files)| files).collect();
    assert_eq!(parts.len(), all.len(), "the same part twice");
    assert_eq!(all, states(&log, plan));
}
