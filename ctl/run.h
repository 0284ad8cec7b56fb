/* What the rows of the table (commands.c) run, by file. */
#pragma once

#include "ctl/ctl.h"
#include "ctl/sha256.h"

/* endpoint.c */
command_fn run_endpoint_status, run_endpoint_health, run_top;
/* hash.c */
command_fn run_endpoint_hash;
/* member.c, joining.c */
command_fn run_member_list, run_member_remove, run_member_promote,
    run_member_demote;
command_fn run_member_add;
/* leader.c */
command_fn run_leader_transfer, run_drain;
/* snapshot.c */
command_fn run_snapshot_save, run_snapshot_status;
/* ERR_CORRUPT if @path is not what FILE.sha256 says. @kept is that sum, "" if
 * there is no such file; @sum is what the file has. */
NODISCARD int snapshot_check_sum(const char *path, char sum[SHA256_TEXT_SIZE],
                                 char kept[SHA256_TEXT_SIZE], struct errmsg *e);
/* export.c */
command_fn run_export;
/* recovery.c */
command_fn run_snapshot_restore, run_recover;
/* location.c */
command_fn run_location_list, run_location_create, run_location_delete,
    run_location_token;
/* device.c */
command_fn run_device_list, run_device_add, run_device_delete;
/* token.c */
command_fn run_token_list, run_token_create, run_token_revoke;
/* token_recovery.c */
command_fn run_token_recover;
/* settings.c */
command_fn run_settings_show, run_settings_set;
/* gateway.c */
command_fn run_gateway_list, run_gateway_delete;
/* talkers.c */
command_fn run_device_top;
/* check_disk.c, check_net.c, check_totals.c, doctor.c */
command_fn run_check_disk, run_check_net, run_check_totals, run_doctor;
/* completion.c */
command_fn run_completion;
