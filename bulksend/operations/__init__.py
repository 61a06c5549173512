"""What a person or a program may do: one function for each use case, called by every face (command line, HTTP API).

A function takes ledger, limiter and plain arguments, puts an act of an operator on record, and returns
values; ``to_json`` or a value's ``as_json`` gives the shape that ``--json`` shows. Reads take a
transaction, so that several see one state of the ledger; acts take the database and commit. Nothing here prints, ends
the process or reads the environment; errors are those of ``bulksend.errors``.

module        what it does
campaigns     newest, show, details, find; act: pause, resume, unschedule, cancel, retry
progress      Watch: how far campaigns are and how fast they go
messages      find by a Filter in Pages; show one with attempts, receipts and acts
message_story what happened to a message, in order    look_up   whatever a text names
codes         how one-time codes do now: waits, risks, forecasts
why           explain which gate holds a message, and until when
unknowns      list_unknown; resolve by ids, or matching_ids of a Filter
campaign_pages  campaign_settings   pages of campaigns and of what is in them; change one that runs
campaign_overview   one campaign for the person who looks after it    act_changes   what an act changed
clones        the options of a campaign for another, or its rest
breakdown     a campaign by steps, countries, hours and reasons    report   the same as one HTML file
uploads       files that were posted as campaigns
exports       export files, written by a job
export        Export: every message of a campaign, or every refused row
audit         prove the promises, also as a job, and keep what was found    acts   the operator log, acts_on
installation  processes, ledger, Redis, limiter    restore   make a restored ledger safe to start from
senders       list_senders, change_sender; set_paused for a sender or the account
paces         how fast a sender may send now, and each change by the vendor's throttling
suppressions  list, add, remove, import, every_suppression; parse_subject, parse_scope
consents      list_consents, report: who agreed to get messages
persons       forget a person, with erasure_files    person_export   all that is held
legal_holds   list_holds, place_hold, remove_hold
webhooks      endpoints: add, change, rotate, set_active, remove, test; deliveries, replay; record_results
events        pages of events in their order   stats   sums by hour    suppression_imports   files of them
inbound       what people write back           templates   read from the vendor, shown, previewed
media         files for messages: upload, list, delete    media_files   their contents in a folder of ours
link_probe    what the links of a content answer
rehearsals    give a ledger of its own what a campaign meets in the real one
blockers      what holds messages back now, and the remedy
doctor        examine an installation: doctor_readings what is read, doctor_rules what follows from it
doctor_issuer what it finds of an OpenID provider    issuer_sign_in   sign in as an identity of one
health        which processes run             alerts   what needs a person: read here, judged by alert_rules
access        Role, Principal    api_keys   add_key, list_keys, revoke_key; KeyRing: whose a key is
sender_pages  how fast each sender goes now, and what was done to it    template_pages   who uses a template
overview      what goes on in the whole installation    changes   what has changed since the last look
sessions      of browsers: sign in by password or link, whose one is, sign out
users         add, list, reset, disable, enable; set_password by setup token; check_password   passwords   hashes
receipt_tokens   add, list, revoke_token; TokenRing: whose a token is    callbacks   what callbacks say besides receipts
idempotency   run_once: the same key, the same answer    gauges   what the relay shows of the ledger
limiter       the limiter's pause flags        contents   a message's content        json_shape   fields and times
"""
