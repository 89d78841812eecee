// How jobs, workers and tokens are shown: as text for people, as JSON for programs. Names that others chose are made
// printable. Pure functions, thread-safe; times are handed in.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "proto/jobs.pb.h"

namespace potluck {

std::string StateName(v1::JobStatus::State state);

std::string JobsText(const v1::ListReply& reply);
nlohmann::ordered_json JobsJson(const v1::ListReply& reply, int64_t now_unix_ms);

// Several lines, with the result so far where the workload is known here.
std::string JobText(const v1::JobStatus& status, int64_t now_unix_ms);
nlohmann::ordered_json JobJson(const v1::JobStatus& status, int64_t now_unix_ms);

std::string WorkersText(const v1::ListWorkersReply& reply);
nlohmann::ordered_json WorkersJson(const v1::ListWorkersReply& reply);

std::string RoleName(v1::TokenRole role);
std::string TokensText(const v1::ListTokensReply& reply, int64_t now_unix_ms);
nlohmann::ordered_json TokensJson(const v1::ListTokensReply& reply, int64_t now_unix_ms);

}  // namespace potluck
