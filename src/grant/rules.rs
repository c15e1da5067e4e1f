//! The rules of the protocol by name. Each stands in one place of the machine, or of the maintenance script; a checker
//! takes one away at a time and shows what goes wrong then.

/// What must hold so that no two runs are ever past the fence at once, or so that a repository is not given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Each grant has an epoch that none had before, also where a later one did not come through.
    EpochsOnce,
    /// Only a claim that was read back makes a holder.
    ClaimVerified,
    /// Whoever held the repository before is waited for.
    FormerDrained,
    /// Nothing runs while anybody is waited for.
    DrainFirst,
    /// One list that shows nothing is not enough.
    TwoLists,
    /// Between the lists lies as long as a CronJob controller may lag behind.
    MinuteBetween,
    /// It is measured by one process, on its own clock.
    OwnClock,
    /// What was seen before a new claim is seen anew after it.
    ListsAnew,
    /// Whoever can't be seen is waited for as long as its runs may last.
    DeadlineWait,
    /// A former holder goes on only where its owner certainly still is the recorded one.
    NothingSet,
    /// A former holder goes on only once everybody else has been waited for.
    OthersBeforeResume,
    /// A lost ledger is taken up only once all members have been read.
    AllRead,
    /// A run that began while a claim was under way is waited for like one of a foreign owner.
    NobodyBetween,
    /// Objects of a later grant than the ledger's are taken up before they are removed.
    LaterTakenUp,
    /// A run by hand is named by the ledger before its Job is made, and no other is made until it has ended.
    NamedFirst,
    /// Of a repository with several names every grant is waited for, under every name.
    EveryName,
    /// An owner names the id under which the repository is known: grants under two names are told apart.
    OwnerNamesId,
    /// Script: a run goes on only if the recorded owner is its own, letter for letter.
    OwnerExact,
    /// Script: a claim replaces the one owner that its permit names.
    PermitExact,
    /// Script: an owner counts as set once it was read back.
    ReadBack,
}
