"""What each finding and each other trouble means, how bad it is, and which command mends it: one table of each.

It looks at no store, and mends nothing.
"""

from __future__ import annotations

import shlex
from typing import Final, Literal, NamedTuple

from synthians_memory.reports import FINDING_CODES, Finding, Severity

__all__ = ["FINDING_REMEDIES", "TROUBLE_REMEDIES", "Remedy", "Urgency", "command_for", "remedy_for", "rendered"]

# "urgent": data are damaged, or the store cannot be used. "soon": nothing is lost, and it should be mended.
# "note": nothing need be done.
Urgency = Literal["urgent", "soon", "note"]


class Remedy(NamedTuple):
    """What to say of one code.

    Commands and advice are templates: {store} is the program with the store's path, {path} that path; of what is concerned
    {file} is the first file, {id} the id of the first entity, {assembly} the option where that is an assembly, {name} whatever
    else has a name.

    Attributes:
        urgency: how soon something should be done.
        meaning: what it means, in a plain sentence or two.
        commands: what mends it, in order; none where no command does.
        advice: what else a person should know or do; "" for nothing.
    """

    urgency: Urgency
    meaning: str
    commands: tuple[str, ...] = ()
    advice: str = ""


_URGENCIES: Final[dict[Severity, Urgency]] = {"damage": "urgent", "inconsistency": "soon", "note": "note"}
_REPAIR: Final = ("{store} repair",)
_KEPT: Final = "What the repair takes out of the way is kept in quarantine."
_YOURS: Final = (
    "If you changed it yourself and it is right as it stands, run `{store} adopt{assembly} -- {id}` instead. "
    "If a snapshot has the memory, `{store} restore{assembly} --memory={id}` brings it back. "
)
_SNAPSHOT: Final = ("{store} backups --verify", "{store} restore")
# The whole store as it was, beside it, and one file of that: what came since stays.
_FROM_SNAPSHOT: Final = ("{store} restore --to {path}.restored", "cp {path}.restored/{file} {path}/{file}")
_LEDGER_HINT: Final = (
    "Nothing of the ledger is ever rewritten to fit. A copy of `ledger/` from a snapshot (`{store} backups`) or from git is "
    "the way back."
)

# code -> what it means, what mends it, what else there is to say
_FINDINGS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "file_not_indexed": ("A whole, intact file lies among the memories and is not yet known. It is not served.", _REPAIR, "Where it should not be there, move it away first."),
    "file_missing": ("A memory that was stored has lost its file. It cannot be loaded.", _REPAIR, "`{store} health` brings it back where a snapshot has it. A repair records it as removed, unless the journal has it. To look first: `{store} history{assembly} -- {id}`; to bring back this one: `{store} restore{assembly} --memory={id}`."),
    "file_replaced": ("An intact file is of another version than the one that was acknowledged, as after a checkout or a sync.", _REPAIR, "The repair takes the file as the present version. Where the other one was right: `{store} restore{assembly} --memory={id}`."),
    "file_edited": ("A file was edited by hand and is valid.", _REPAIR, "The repair takes it as it stands; `{store} watch --once` does so as well, and embeds the text anew."),
    "file_damaged": ("Bytes of a file are not those that were written. It is not served, so that nothing wrong is ever returned.", _REPAIR, _YOURS + _KEPT),
    "file_undecodable": ("A file is no valid memory any more: it was cut off or overwritten.", _REPAIR, "If a snapshot has the memory, `{store} restore{assembly} --memory={id}` brings it back. " + _KEPT),
    "not_a_file": ("A folder, a link or a special file stands where a file of the store belongs.", _REPAIR, _KEPT),
    "foreign_name": ("A file that is not the store's own lies in one of its folders. It is left alone.", (), "Move it elsewhere if you like."),
    "apply_pending": ("A change is safe in the journal and could not be written to its file yet, because the disk refused.", ("{store} checkpoint",), "Make room on the disk, or mend its permissions, first."),
    "index_damaged": ("The list of all memories on disk is damaged or missing. It is derived: no memory is lost.", _REPAIR, "Any opening for changes rebuilds it as well."),
    "vectors_damaged": ("The vector index on disk is damaged or missing. It is derived: no memory is lost, and searches by a reader are slower to begin.", _REPAIR, "Any opening for changes rebuilds it as well."),
    "text_damaged": ("The text index is damaged. It is derived: the next question builds it anew.", _REPAIR, ""),
    "superblock_damaged": ("The small file with the facts of the whole store is damaged or missing. It is rebuilt from its copies.", _REPAIR, "Any opening for changes rebuilds it as well."),
    "vector_missing": ("A memory with an embedding is not in the vector index, so that searches miss it.", _REPAIR, ""),
    "vector_stale": ("A search compares with an embedding that the memory no longer has.", _REPAIR, ""),
    "vector_orphan": ("The vector index has a vector that belongs to no memory.", _REPAIR, ""),
    "vector_wrong": ("A vector in the index is not the embedding of its memory, so that searches give wrong scores.", _REPAIR, "The embeddings themselves are intact, in the files."),
    "embedding_stale": ("The text of a memory was edited after its embedding was made: searches by vector still go by the old text.", (), "Edit it again while `{store} watch --embedder default` runs, or save it with a new embedding."),
    "journal_damaged": ("Changes in the journal that had been made durable are damaged. What they changed may be lost; the message names it as far as it still tells.", _REPAIR, "Compare with a snapshot: `{store} backups --verify`, then `{store} history ID` and `{store} restore --memory ID` for what is named."),
    "journal_torn": ("The last, unfinished write of a program that was killed was never acknowledged, and is set aside at the next opening.", (), ""),
    "journal_foreign": ("A part of another store's journal, or of an earlier life of this one, lies in the journal. It is never applied.", (), ""),
    "conflict": ("A file was changed outside while a newer version was waiting to be written. The acknowledged one was kept, the other is in quarantine.", (), "Look into the quarantine folder and save what you miss."),
    "staged_damaged": ("What was prepared for another embedding model is damaged.", ("{store} reembed",), "Run it with the embedder that was being changed to."),
    "way_back_damaged": ("The embeddings of the model before, kept as a way back, are damaged. The present ones are not concerned.", ("{store} reembed --forget-way-back",), "To go back all the same, change the model to the former one with `{store} reembed --embedder NAME`."),
    "member_missing": ("An assembly lists a memory that does not exist.", (), "Save the assembly without it, or bring the memory back: `{store} history ID`."),
    "scratch": ("An interrupted write has left a scratch file. It takes room, and nothing else.", _REPAIR, ""),
    "state_damaged": (
        "A file of the workflow's state cannot be read.",
        _FROM_SNAPSHOT,
        "Without a snapshot leave it: the next write sets it aside, and begins anew.",
    ),
    "state_invalid": ("A file of the workflow's state does not fit its schema; it is used as far as it goes.", (), "`{store} state rehydrate` names the fields; correct them in the file."),
    "state_unchecked": ("The schemas of the state were not checked, because a library is not installed.", ("pip install 'synthians-memory[ops]'",), ""),
    "ledger_damaged": ("A line of the ledger's log is not what was written.", ("{store} ledger doctor",), _LEDGER_HINT),
    "ledger_chain_broken": ("An entry of the ledger's log does not follow the one before it: something was changed, removed or inserted.", ("{store} ledger doctor",), _LEDGER_HINT),
    "ledger_torn": ("The last line of the ledger's log is torn: its program was killed before it was acknowledged.", ('{store} ledger log --summary "checked"',), "The next entry, whichever it is, sets the torn line aside."),
    "ledger_set_aside": ("A torn line of the ledger's log, never acknowledged, was set aside before.", (), ""),
    "ledger_duplicate": ("Two entries of the ledger's log name the same run.", ("{store} ledger doctor",), _LEDGER_HINT),
    "ledger_table_damaged": (
        "The table of the ledger's facts or artifacts cannot be read.",
        _FROM_SNAPSHOT,
        "What was promoted since that snapshot is then missing from the table; the log has it still.",
    ),
    "ledger_cut_unrecorded": ("A restore has cut off a newer log, and no entry tells of it.", ("{store} ledger doctor",), "The log that was cut off lies beside the present one."),
    "capsule_missing": ("The folder of a recorded run is gone.", ("{store} ledger doctor",), _LEDGER_HINT),
    "capsule_changed": ("The folder of a recorded run is not what was written.", ("{store} ledger doctor",), _LEDGER_HINT),
    "capsule_orphan": ("The folder of a run belongs to no entry: its program was killed between the two.", (), "Remove the folder if you do not need it."),
    "fact_stale": ("A promoted fact has expired.", (), "Promote it anew from a fresh run if it still holds."),
    "fact_unsupported": ("A promoted fact names a run that the log does not have.", (), "Promote it anew with `{store} ledger promote`, from a run that establishes it."),
    "fact_not_remembered": ("A promoted fact is not among the memories, so that `recall` does not find it.", ("{store} ledger doctor --mend",), ""),
    "database_damaged": (
        "A database of a part beside the memories fails SQLite's own check.",
        ("{store} backups --verify", "{store} health"),
        "A health pass brings it back from a snapshot, and keeps the damaged one in quarantine.",
    ),
    "space_low": (
        "The disk of the store has little room left.",
        ("{store} sweep-expired",),
        "Free space, or move the store to a larger disk: `{store} move NEWPATH`.",
    ),
    "inodes_low": (
        "The file system can hold few further files, and each memory is one.",
        ("{store} sweep-expired",),
        "Remove files that nobody needs, or move the store: `{store} move NEWPATH`.",
    ),
    "backup_overdue": ("The newest whole backup is older than it should be.", ("{store} backup",), ""),
    "backup_damaged": (
        "A snapshot is not what was written: it cannot bring all back.",
        ("{store} backups --verify", "{store} backup --full"),
        "A full backup reads everything again, and stores anew what is rotten.",
    ),
    "tier_damaged": (
        "A database of the tiers is not what was written.",
        ("{store} backups --verify", "{store} health"),
        "A health pass brings it back from a snapshot, and keeps the damaged one in quarantine.",
    ),
    "tier_row_damaged": (
        "A row of a tier does not match its hash. It is not served.",
        ("{store} health",),
        "A health pass takes it from a snapshot. Where none has it: store the row again.",
    ),
    "tier_words_damaged": (
        "The index of words of a tier does not fit its rows. It is derived: no row is lost.",
        ("{store} tiers vacuum",),
        "",
    ),
    "tier_log_damaged": (
        "Committed changes in the write-ahead log of a tier are lost.",
        ("{store} health",),
        "With a backup, a health pass adds what the newest one has beyond the rest. Without: store again what is missing, then remove the copy.",
    ),
    "tier_memory_missing": ("A row of a tier is not among the memories.", ("{store} tiers vacuum",), "Any opening of the tiers for changes saves it."),
    "tier_memory_stale": ("A memory does not say what its row in a tier says.", ("{store} tiers vacuum",), "Any opening of the tiers for changes saves it anew."),
    "tier_memory_orphan": ("A memory of a collection has no row in a tier.", (), "Delete it if nobody wants it."),
    "repair_refused": ("An automatic repair would have dropped a large part of the store and did nothing: a disk may not be mounted.", ("{store} repair --dry-run", "{store} repair"), "Look first whether all files are there. Only then run the repair by hand; it says what it takes out of the way."),
}  # fmt: skip

# Of parts that are not there nothing is found.
FINDING_REMEDIES: Final[dict[str, Remedy]] = {
    code: Remedy(_URGENCIES[FINDING_CODES[code][0]], *told) for code, told in _FINDINGS.items() if code in FINDING_CODES
}

# What a doctor finds around the data.
TROUBLE_REMEDIES: Final[dict[str, Remedy]] = {
    "no_store": Remedy("urgent", "There is no store in this directory, so that nothing can be checked in it.", (), "If there was one, give its place with --store, mount its disk, or bring it back with `{store} restore --from DIR`. Only where there shall be a new, empty one: `{store} init`."),
    "store_moved": Remedy("urgent", "The store was moved to another place; what is here is what it left behind.", (), "Give --store the new place."),
    "format_older": Remedy("urgent", "The store was written by an older version, and no program opens it before it is brought up to date.", ("{store} migrate",)),
    "format_newer": Remedy("urgent", "The store was written by a newer version than this one, which leaves it alone.", ("pip install --upgrade synthians-memory",)),
    "restore_unfinished": Remedy("urgent", "A restore was cut off half-way. Until it is gone on with no program opens the store.", ("{store} restore",), "What it replaced is in quarantine."),
    "restore_left": Remedy("soon", "A restore was cut off while it gathered what it needs. The store itself is as it was.", (), "Run that `restore` again to go on, or remove {path}/{file}."),
    "store_unreadable": Remedy("urgent", "The store cannot be opened, not even for reading.", ("{store} repair",), "Where that fails as well: `{store} backups --verify`, then `{store} restore`; it keeps what it replaces in quarantine."),
    "store_lost": Remedy("urgent", "The store cannot be opened, and there are snapshots of it.", _SNAPSHOT, "The restore keeps what it replaces in quarantine."),
    "store_busy": Remedy("soon", "Another program keeps the store so busy that it could not be looked at.", ("{store} doctor",), "Try again."),
    "settings_refused": Remedy("soon", "The store contradicts the settings it is opened with.", ("{store} stats",), "Correct the setting, or leave it out."),
    "configuration_wrong": Remedy("urgent", "A setting is wrong, so that commands refuse to begin. This diagnosis goes on with the defaults.", (), "Correct it where the message says it stands."),
    "unexamined": Remedy("urgent", "This cannot be looked at, so that nothing is known of it.", ("ls -la {path}",)),
    "permissions_missing": Remedy("urgent", "Files of the store cannot be read or written, not even by their owner.", ("chmod -R u+rwX {path}",)),
    "other_user": Remedy("note", "The store belongs to another user than the one who runs this. What another user mends may be refused, or leaves files that the owner cannot write.", ("sudo -u {name} {store} doctor",), "Run the other commands as that user as well."),
    "owner_needed": Remedy("urgent", "The store belongs to another user, and this one may not read it.", ("sudo -u {name} {store} doctor",)),
    "owned_by_others": Remedy("soon", "Files of the store belong to another user than its directory: a program was run as somebody else, as with sudo.", ("sudo chown -R --reference={path} {path}",)),
    "open_to_others": Remedy("soon", "Other users of this machine can read or change memories.", ("chmod -R go-rwx {path}",)),
    "disk_read_only": Remedy("urgent", "The disk is mounted read-only, which Linux does by itself when a disk fails.", ("dmesg | tail -50",), "Save a copy (`{store} backup DIR` on another disk), then have the disk looked at."),
    "disk_full": Remedy("urgent", "The disk is nearly full. Saves will be refused; deleting is still possible.", ("{store} sweep-expired",), "Free space, or move the store to a larger disk: `{store} move NEWPATH`."),
    "disk_filling": Remedy("soon", "The disk has little room left; checkpoints and repairs write indexes anew and need it.", ("{store} sweep-expired",), "Free space, or move the store to a larger disk: `{store} move NEWPATH`."),
    "inodes_few": Remedy("soon", "The file system can hold few further files, and each memory is one.", ("{store} sweep-expired",), "Remove files that nobody needs, or move the store: `{store} move NEWPATH`."),
    "disk_weak": Remedy("soon", "The disk does not keep what a store relies on.", ("{store} verify-disk",), "Move it to a local disk that is mounted with its defaults: `{store} move NEWPATH`."),
    "memories_parked": Remedy("soon", "Memories that could not be stored are parked. They are safe, and not found until they are stored.", ("{store} replay",), "Make room on the disk first."),
    "parked_unreadable": Remedy("soon", "Lines among the parked memories hold no memory any more.", ("{store} replay",), "It names them; they stay in the file for you to look at."),
    "alerts_open": Remedy("soon", "The monitor has left documents on failures that a person should look at.", ("cat {path}/{file}",), "Remove a document when it is settled."),
    "pass_failed": Remedy("soon", "The last pass of the health monitor did not end well.", ("{store} check",), "The log of failures, beside that of the passes, says more."),
    "pass_overdue": Remedy("soon", "The health monitor has made passes, and makes none any more.", ("{store} check",), "Look into cron, or at the program that ran the monitor."),
    "repair_unfinished": Remedy("soon", "A repair was interrupted. Its plan is saved.", ("{store} repair",)),
    "purge_unfinished": Remedy("soon", "A purge was interrupted: traces of what was to go are still there.", ("{store} checkpoint",), "Any opening for changes finishes it."),
    "embedder_missing": Remedy("soon", "The library of the store's embedder is not installed: texts are saved without embeddings, and recall goes by words alone.", ("pip install 'synthians-memory[embed]'",)),
    "extra_missing": Remedy("note", "Libraries of an extra are not installed; what needs them says so when it is used.", ("pip install 'synthians-memory[{name}]'",)),
    "python_untested": Remedy("note", "This version of Python is not among those that the library is tested with.", ()),
    "snapshot_damaged": Remedy("urgent", "A snapshot is not what was written, or never had everything: it cannot bring all back.", ("{store} backups --verify", "{store} backup --full"), "A full backup reads everything again, and stores anew what is rotten."),
    "backup_missing": Remedy("soon", "There is no backup. What a broken disk or a wrong hand takes is gone.", ("{store} backup",), "Better still on another disk: `{store} backup DIR`."),
    "backup_old": Remedy("soon", "The newest whole backup is old, and the store has changed since.", ("{store} backup",)),
    "backups_unreadable": Remedy("urgent", "The snapshots cannot be read.", ("{store} backups",)),
}  # fmt: skip


def remedy_for(code: str) -> Remedy:
    """What to say of a finding's code, or of another trouble's."""
    found = FINDING_REMEDIES.get(code) or TROUBLE_REMEDIES.get(code)
    return found or Remedy(_URGENCIES[FINDING_CODES[code][0]], f"{FINDING_CODES[code][1].capitalize()}.", _REPAIR)


def command_for(location: str) -> str:
    """The program with the path of a store, as a shell takes it."""
    return f"synthians-memory --store {shlex.quote(location)}"


def rendered(template: str, location: str, first: Finding | None = None, *, name: str = "", file: str = "") -> str:
    """A template of a `Remedy` with its places filled in, as a shell takes it.

    Args:
        template: a command, or advice.
        location: the store's directory.
        first: the finding whose entity and file are named.
        name: what {name} is.
        file: what {file} is without `first`.
    """
    entity_id = first.entity_id if first is not None else None
    path = first.path if first is not None else file
    return template.format(
        store=command_for(location),
        path=shlex.quote(location),
        file=shlex.quote(path) if path else "",
        id=shlex.quote(entity_id) if entity_id is not None else "ID",
        assembly=" --assembly" if first is not None and first.kind == "assembly" else "",
        name=name,
    )
