/* The rows of the table (command.h), in the order in which help shows them. */
#include "ctl/run.h"

#define BIT(flag) (UINT64_C(1) << (flag))
#define PEER_TLS                                                               \
    (BIT(FLAG_PEER_TLS_CA) | BIT(FLAG_PEER_TLS_CERT) | BIT(FLAG_PEER_TLS_KEY))

const struct flag flags[FLAG_COUNT] = {
    [FLAG_ENDPOINTS] = {"endpoints", "LIST", "http://127.0.0.1:8000",
                        "HOLDFASTCTL_ENDPOINTS", "nodes", 0},
    [FLAG_TOKEN] = {"token", "TOKEN", NULL, "HOLDFASTCTL_TOKEN",
                    "admin token; ps shows it: better --token-file", 0},
    [FLAG_TOKEN_FILE] = {"token-file", "FILE", NULL, NULL,
                         "file with the admin token", 0},
    [FLAG_CACERT] = {"cacert", "FILE", NULL, "HOLDFASTCTL_CACERT",
                     "CA certificates for https (PEM)", 0},
    [FLAG_TIMEOUT] = {"timeout", "TIME", "25s", NULL,
                      "longest wait for an answer", 0},
    [FLAG_OUTPUT] = {"write-out", "table|json", "table", NULL,
                     "json is stable, for scripts", 'w'},
    [FLAG_HELP] = {"help", NULL, NULL, NULL, "of a command: COMMAND --help",
                   'h'},
    [FLAG_VERSION] = {"version", NULL, NULL, NULL, "print the version", 0},
    [FLAG_CLUSTER] = {"cluster", NULL, NULL, NULL,
                      "all nodes of the cluster, not only --endpoints", 0},
    [FLAG_UNDO] = {"undo", NULL, NULL, NULL, "end draining", 0},
    [FLAG_YES] = {"yes", NULL, NULL, NULL,
                  "do not ask; wanted without a terminal", 'y'},
    [FLAG_WAIT] = {"wait", "TIME", "10m", NULL,
                   "wait for the new node; 0: do not", 0},
    [FLAG_ADDRESS] = {"address", "CIDR,...", NULL, NULL,
                      "the gateway's addresses in the VPN", 0},
    [FLAG_VPN_HOST] = {"vpn-host", "HOST", NULL, NULL,
                       "host name or address that clients dial", 0},
    [FLAG_VPN_PORT] = {"vpn-port", "PORT", "51820", NULL,
                       "UDP port of the gateway", 0},
    [FLAG_ALLOWED_IPS] = {"allowed-ips", "CIDR,...", NULL, NULL,
                          "what clients route into the tunnel", 0},
    [FLAG_DNS] = {"dns", "LIST", NULL, NULL, "name servers of clients", 0},
    [FLAG_KEEPALIVE] = {"keepalive", "SEC", "25", NULL,
                        "persistent keepalive of clients", 0},
    [FLAG_DISCONNECT_AFTER] = {"disconnect-after", "SEC", "300", NULL,
                               "silence that counts as disconnected", 0},
    [FLAG_ACCEPT_UNKNOWN] = {"accept-unknown-peers", NULL, NULL, NULL,
                             "unknown keys become unclaimed devices", 0},
    [FLAG_USER] = {"user", "NAME", NULL, NULL,
                   "a user's device: it goes to all locations", 0},
    [FLAG_LOCATION] = {"location", "ID|NAME", NULL, NULL, "only this location",
                       0},
    [FLAG_DESCRIPTION] = {"description", "TEXT", NULL, NULL, "shown to people",
                          0},
    [FLAG_BY] = {"by", "device|user|gateway", "device", NULL, "whose bytes", 0},
    [FLAG_FROM] = {"from", "TIME", NULL, NULL,
                   "Unix seconds or 2026-11-22T12:00:00Z", 0},
    [FLAG_TO] = {"to", "TIME", NULL, NULL, "as --from; else now", 0},
    [FLAG_LIMIT] = {"limit", "N", "10", NULL, "how many", 0},
    [FLAG_EXPECT] = {"expect", "FILE", NULL, NULL,
                     "what went into the gateways, to the byte", 0},
    [FLAG_SECONDS] = {"seconds", "N", "3", NULL, "how long to write", 0},
    [FLAG_DATA_DIR] = {"data-dir", "DIR", "/var/lib/holdfast", NULL,
                       "of the node of this host", 0},
    [FLAG_MEMBER] = {"member", "NAME=HOST:PORT", NULL, NULL,
                     "the new cluster's only member", 0},
    [FLAG_INSPECT] = {"inspect", NULL, NULL, NULL,
                      "show what the directory holds", 0},
    [FLAG_FORCE_NEW_CLUSTER] = {"force-new-cluster", NULL, NULL, NULL,
                                "make a cluster of one of it", 0},
    [FLAG_FROM_RAW] = {"from-raw", NULL, NULL, NULL,
                       "make a store of its raw reports", 0},
    [FLAG_TO_DIR] = {"into", "DIR", NULL, NULL, "for the store; empty", 0},
    [FLAG_BASE] = {"base", "FILE", NULL, NULL, "copy of a store to begin from",
                   0},
    [FLAG_FORMAT] = {"format", "csv|json", "csv", NULL,
                     "json: an object a line", 0},
    [FLAG_PEER_TLS_CA] = {"peer-tls-ca", "FILE", NULL, NULL,
                          "to ask the other members over TLS", 0},
    [FLAG_PEER_TLS_CERT] = {"peer-tls-cert", "FILE", NULL, NULL,
                            "as holdfast-node's", 0},
    [FLAG_PEER_TLS_KEY] = {"peer-tls-key", "FILE", NULL, NULL,
                           "as holdfast-node's", 0},
};

const struct noun nouns[] = {
    {"endpoint", "what the nodes say of themselves"},
    {"member", "who belongs to the cluster"},
    {"leader", "hand leadership over"},
    {"drain", "empty a node before maintenance"},
    {"snapshot", "copies of the store"},
    {"export", "reports and buckets as text"},
    {"location", "VPN locations, tokens of gateways"},
    {"device", "WireGuard peers"},
    {"token", "admin tokens of the API"},
    {"gateway", "who reports, and when it last did"},
    {"settings", "how long the cluster keeps what"},
    {"top", "watch the nodes"},
    {"check", "disk, network, and the totals"},
    {"doctor", "look at everything, say what to do"},
    {"recover", "a stopped node, a lost majority"},
    {"completion", "for bash, zsh or fish"},
};
const size_t noun_count = sizeof nouns / sizeof *nouns;

const struct command commands[] = {
    {"endpoint", "status", "", 0, 0, BIT(FLAG_CLUSTER),
     "one line for each node",
     "Asks every endpoint for its role, log positions and sizes. With "
     "--cluster one endpoint is asked what it knows of all nodes. LAG is "
     "counted in log entries behind the newest commit that any of them knows; "
     "CLOCK OFFSET is relative to the node that was asked.",
     "endpoint status --cluster", run_endpoint_status},
    {"endpoint", "health", "", 0, 0, BIT(FLAG_CLUSTER),
     "does each node live, serve and see a leader?",
     "A node is healthy when all its loops tick, its replica can answer and it "
     "knows a leader. Exit code 1 if one is not.",
     "endpoint health -w json", run_endpoint_health},
    {"endpoint", "hash", "", 0, 0, BIT(FLAG_CLUSTER),
     "prove that the replicas agree",
     "Has every node hash its state at one log index and compares. Exit code 1 "
     "if they differ or one does not answer. Writes one small log entry.",
     "endpoint hash --cluster", run_endpoint_hash},

    {"member", "list", "", 0, 0, 0, "names, roles and addresses",
     "The members as one node sees them.", "member list", run_member_list},
    {"member", "add", "NAME=HOST:PORT", 1, 1, BIT(FLAG_WAIT),
     "bring a new node in",
     "Prints the flags with which to start holdfast-node on the new host, then "
     "waits until that node has joined, fetched the store and become voter or "
     "standby. HOST:PORT is its peer address. The cluster itself decides when "
     "it votes. Ctrl-C ends only the waiting.",
     "member add d=d.example:7600", run_member_add},
    {"member", "remove", "NAME", 1, 1, BIT(FLAG_YES),
     "take a node out for good",
     "Refused where it would leave fewer healthy voters than a quorum. Stop "
     "the node afterwards; to come back it needs an empty data directory.",
     "member remove c", run_member_remove},
    {"member", "promote", "NAME", 1, 1, 0, "let a standby vote",
     "Also ends an earlier demote: the cluster may move it by itself again.",
     "member promote d", run_member_promote},
    {"member", "demote", "NAME", 1, 1, 0, "take a voter's vote",
     "The node stays as a standby, with all data, until it is promoted.",
     "member demote c", run_member_demote},

    {"leader", "transfer", "[NAME]", 0, 1, 0, "make another node the leader",
     "Without a name the cluster chooses who is best.", "leader transfer b",
     run_leader_transfer},
    {"drain", NULL, "", 0, 0, BIT(FLAG_UNDO), "empty a node before maintenance",
     "The node behind the one endpoint gives leadership away, takes none and "
     "sends gateways elsewhere; it stays a member and keeps its copy. --undo "
     "ends it, and so does a restart.",
     "--endpoints http://c.example:8000 drain", run_drain},

    {"snapshot", "save", "FILE", 1, 1, 0, "copy a running node's store",
     "Streams a consistent copy from the first endpoint into FILE.part, checks "
     "its SHA-256, renames it to FILE and makes FILE.sha256 for sha256sum -c. "
     "The file holds private keys: it is made readable to its owner only.",
     "snapshot save /backup/holdfast.mdb", run_snapshot_save},
    {"snapshot", "status", "FILE", 1, 1, 0, "what a copy holds",
     "Reads the file, without any node. Exit code 1 if it is damaged or is "
     "not what FILE.sha256 says; says so where there is no FILE.sha256.",
     "snapshot status /backup/holdfast.mdb", run_snapshot_status},
    {"snapshot", "restore", "FILE", 1, 1, BIT(FLAG_DATA_DIR) | BIT(FLAG_MEMBER),
     "make a data directory of a copy",
     "On the host of the new node, into an empty --data-dir; refused where "
     "FILE is not what FILE.sha256 says. The node started with it is a new "
     "cluster with the old state, under a new cluster id; the others join it "
     "with empty directories.",
     "snapshot restore /backup/holdfast.mdb --member a=a.example:7600",
     run_snapshot_restore},

    {"export", NULL, "raw|minute|hour|day [FILE]", 1, 2,
     BIT(FLAG_FORMAT) | BIT(FLAG_FROM) | BIT(FLAG_TO) | BIT(FLAG_LOCATION),
     "raw reports and buckets as CSV or JSON lines",
     "raw is every report as the first endpoint's node took it, with counters "
     "as they were told; minute, hour and day are upload and download of each "
     "device by gateway. Streams to standard output, or into "
     "FILE.part, which becomes FILE when it is whole. Times are those at which "
     "the cluster took a report, for buckets their beginning.",
     "export raw --from 2026-11-29T00:00:00Z --location office", run_export},

    {"location", "list", "", 0, 0, 0, "all locations", "", "location list",
     run_location_list},
    {"location", "create", "NAME", 1, 1,
     BIT(FLAG_ADDRESS) | BIT(FLAG_VPN_HOST) | BIT(FLAG_VPN_PORT) |
         BIT(FLAG_ALLOWED_IPS) | BIT(FLAG_DNS) | BIT(FLAG_KEEPALIVE) |
         BIT(FLAG_DISCONNECT_AFTER) | BIT(FLAG_ACCEPT_UNKNOWN),
     "make a location", "The cluster makes its WireGuard key pair.",
     "location create hq --address 10.6.0.1/24 --vpn-host vpn.example",
     run_location_create},
    {"location", "delete", "ID|NAME", 1, 1, BIT(FLAG_YES),
     "delete a location and its gateways", "", "location delete office",
     run_location_delete},
    {"location", "token", "ID|NAME", 1, 1, 0,
     "what its gateways are started with",
     "Prints the gateway token and the URL for holdfast-gateway or defguard's.",
     "location token office", run_location_token},

    {"device", "list", "", 0, 0, 0, "all devices", "", "device list",
     run_device_list},
    {"device", "add", "NAME PUBLIC-KEY", 2, 2,
     BIT(FLAG_USER) | BIT(FLAG_LOCATION) | BIT(FLAG_DESCRIPTION),
     "add a WireGuard peer",
     "With --user it gets an address in every location, with --location only "
     "there. Prints the client's configuration; the private key stays with "
     "the client. A key that gateways reported before is an unclaimed device: "
     "it gets the name and place, and keeps its id and history.",
     "device add laptop \"$(wg pubkey <key)\" --user ann", run_device_add},
    {"device", "delete", "ID|NAME|KEY", 1, 1, BIT(FLAG_YES), "delete a device",
     "Its history stays.", "device delete laptop", run_device_delete},

    {"device", "top", "", 0, 0,
     BIT(FLAG_BY) | BIT(FLAG_LOCATION) | BIT(FLAG_FROM) | BIT(FLAG_TO) |
         BIT(FLAG_LIMIT),
     "who moved the most bytes",
     "In the last hour, or from --from on: devices, users or gateways, the "
     "largest first. Upload is what the gateways sent to the peer.",
     "device top --by user --from 2026-11-22T00:00:00Z", run_device_top},

    {"token", "list", "", 0, 0, 0, "all admin tokens, by name", "",
     "token list", run_token_list},
    {"token", "create", "NAME", 1, 1, 0, "make an admin token",
     "It is shown this once: the cluster keeps only its hash.",
     "token create backup-job", run_token_create},
    {"token", "revoke", "ID|NAME", 1, 1, BIT(FLAG_YES), "end an admin token",
     "The last one cannot be revoked.", "token revoke backup-job",
     run_token_revoke},
    {"token", "recover", "", 0, 0, BIT(FLAG_DATA_DIR),
     "get a new one when all are lost",
     "On the host of a running node, as root or the node's user: nothing but "
     "its --data-dir is used, so nobody can do that from afar. The node has "
     "the cluster make a token, leaves it in admin-token there and logs that; "
     "where the token in that file is still good, it is the answer. The other "
     "tokens still count: revoke those that somebody may have found.",
     "token recover --data-dir /var/lib/holdfast", run_token_recover},

    {"gateway", "list", "", 0, 0, BIT(FLAG_LOCATION),
     "gateways and when they were heard", "", "gateway list --location office",
     run_gateway_list},
    {"gateway", "delete", "ID|NAME|HOSTNAME", 1, 1, BIT(FLAG_YES),
     "forget a gateway that is gone",
     "Makes room where a location has 1,024 of them. What it moved stays in "
     "every sum, under its id. Stop it first: one that still reports comes "
     "back as a new gateway, and what passed since its last report is lost.",
     "gateway delete vpn-7f9c", run_gateway_delete},

    {"settings", "show", "", 0, 0, 0, "what is in force",
     "How long minutes, hours and days are kept, in the whole cluster.",
     "settings show", run_settings_show},
    {"settings", "set", "NAME VALUE", 2, 2, BIT(FLAG_YES),
     "change one, for the whole cluster",
     "NAME is retain-minute, retain-hour or retain-day, VALUE a time such as "
     "168h or 400d; 0 keeps for ever. A shorter time deletes history, little "
     "by little and for good: it is refused without --yes.",
     "settings set retain-minute 336h", run_settings_set},

    {"top", NULL, "", 0, 0, 0, "watch the nodes",
     "What endpoint status --cluster says, again every two seconds until "
     "Ctrl-C; once where standard output is no terminal.",
     "top", run_top},

    {"check", "disk", "DIR", 1, 1, BIT(FLAG_SECONDS),
     "is this disk fast enough for the log?",
     "Writes 4 to 128 KiB at a time to a file of 8 MiB, each write durable "
     "before the next, as the log does, and removes it. Run it on the disk of "
     "the data directory, on an idle host and on a busy one. Exit code 1 if "
     "the disk is too slow for the default --election-timeout.",
     "check disk /var/lib/holdfast", run_check_disk},
    {"check", "net", "", 0, 0, BIT(FLAG_CLUSTER),
     "round trips between nodes, and timeouts for them",
     "Asks every endpoint for its last pings and recommends --heartbeat and "
     "--election-timeout. Exit code 1 if two nodes do not hear each other.",
     "check net --cluster", run_check_net},
    {"check", "totals", "", 0, 0,
     BIT(FLAG_CLUSTER) | BIT(FLAG_LOCATION) | BIT(FLAG_FROM) | BIT(FLAG_TO) |
         BIT(FLAG_EXPECT),
     "no byte lost, none counted twice?",
     "What the devices of each gateway moved must be what the gateway did, and "
     "the gateways what the location did, in minutes, hours and days; the "
     "tiers must agree over whole hours and days that they still have, and so "
     "must all nodes. --expect compares with a file, CSV lines or a JSON array "
     "of location, gateway, device, upload, download: ids, or names and public "
     "keys. Exit code 1 with a table of what is off, or where no whole hour is "
     "in the range. Under load give a --to some minutes past.",
     "check totals --cluster --location office", run_check_totals},
    {"doctor", NULL, "", 0, 0, BIT(FLAG_CLUSTER),
     "look at everything, say what to do",
     "Exit code 1 if a check is [FAIL]; a [warn] is none.", "doctor --cluster",
     run_doctor},

    {"recover", NULL, "", 0, 0,
     BIT(FLAG_INSPECT) | BIT(FLAG_FORCE_NEW_CLUSTER) | BIT(FLAG_DATA_DIR) |
         BIT(FLAG_MEMBER) | PEER_TLS | BIT(FLAG_YES) | BIT(FLAG_FROM_RAW) |
         BIT(FLAG_TO_DIR) | BIT(FLAG_BASE),
     "look at a stopped node; force a new cluster",
     "For the data directory of a stopped node on this host, when a majority "
     "is "
     "lost for good. First --inspect on every survivor, and choose the one "
     "whose "
     "last log entry has the largest term, then the largest index. There "
     "--force-new-cluster --member makes a cluster of one of everything that "
     "it "
     "has, also of what was never acknowledged. It is refused while another "
     "member answers. All others then join with empty data directories: never "
     "start one of them with its old directory again. "
     "--from-raw --into makes a store anew of the raw reports, entry by entry, "
     "as if they had come just now; the directory itself is left as it is. "
     "Where they do not reach back to the first entry, --base gives a copy "
     "(snapshot save) to begin from. What comes out is a copy too: "
     "DIR/data.mdb "
     "is for snapshot status and snapshot restore.",
     "recover --inspect --data-dir /var/lib/holdfast", run_recover},

    {"completion", NULL, "bash|zsh|fish", 1, 1, 0, "for bash, zsh or fish",
     "Prints the script. For bash put it into the directory "
     "/usr/share/bash-completion/completions, under the name holdfastctl.",
     "completion bash", run_completion},
};
const size_t command_count = sizeof commands / sizeof *commands;
