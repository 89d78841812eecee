#include "cli/train_options.h"

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace potluck {

void TrainOptions::Declare(Arguments& arguments) {
  arguments.OptionalPositional("SPEC", Text(&train.model),
                               "the network: mnist-cnn (this is the default), or a file with a ModelSpec as text");
  arguments.Flag("--data", "DIR", Text(&data),
                 "a folder with IDX files, CIFAR-10's or .npy pairs; needed, but with --resume JOB", "none");
  arguments.Flag("--out", "DIR", Text(&out), "where model, metrics and run record go",
                 "the model's name, with a number if that is taken");
  local.Declare(arguments);
  train.Declare(arguments);
  arguments.Switch("--plan", &plan,
                   "train nothing: measure the workers and their links, and predict how long it would take on one, "
                   "two, ... of them by both methods");
  arguments.Switch("--overwrite", &overwrite, "a finished run in --out, and any in --mirror, may be replaced");
  arguments.Flag("--init", "MODEL", Text(&init), "begin with the parameters of this .safetensors file",
                 "drawn from the seed");
  arguments.Flag(
      "--mirror", "DIR", Text(&mirror),
      "keep copies of the last two saved states, and at the end of the run's files, in this folder of a Drive "
      "or bucket",
      "none");
  arguments.Flag("--resume", "JOB|DIR",
                 {"a job's number, or a folder that --mirror wrote",
                  [this](const std::string& text) {
                    const bool is_number = absl::c_all_of(absl::StripPrefix(text, "-"), absl::ascii_isdigit);
                    return is_number ? JobNumber(&resume_job).read(text) : Text(&resume_from).read(text);
                  }},
                 "take up again a job of --coordinator, the one that was left in --out, or, with its --data, the run "
                 "whose mirror DIR is",
                 "a new job");
  job.Declare(arguments);
  arguments.InternalFlag("--save-seconds", "S", RealNumber(&local.save_seconds, 0.05, 86400),
                         "how often the state of a training on this machine is saved, seconds", "30");
  arguments.Epilogue("docs/training.md explains both methods, what a ModelSpec looks like and which bits are equal.");
}

absl::Status TrainOptions::Check() const {
  if (absl::Status status = train.Check(); !status.ok()) return status;
  if (absl::Status status = local.Check(); !status.ok()) return status;
  if (resumes() && !init.empty()) {
    return absl::InvalidArgumentError(
        "--init is given together with --resume, which goes on with the job's own parameters; allowed is either");
  }
  if (resume_job != 0 && local.embedded() && out.empty()) {
    return absl::InvalidArgumentError(
        "--resume is given without --out or --coordinator; allowed is it with one of them: the folder in which the job "
        "was left, or the coordinator that has it");
  }
  if (resumes()) {
    const std::string ignored = resume_job == 0     ? train.FixedFlag()
                                : !data.empty()     ? "--data"
                                : !job.name.empty() ? "--name"
                                : job.verify > 0    ? "--verify"
                                                    : train.FixedFlag();
    if (!ignored.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(ignored,
                       " is given together with --resume, which goes on with what the job was submitted with; "
                       "allowed with it are --epochs, --max-steps, --target-accuracy and --time-limit"));
    }
  }
  if (resumes() && plan) {
    return absl::InvalidArgumentError("--plan is given together with --resume; allowed is either");
  }
  if (plan && !mirror.empty()) {
    return absl::InvalidArgumentError("--plan is given together with --mirror, but trains nothing; allowed is either");
  }
  if (!resume_from.empty() && data.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--resume is \"", resume_from,
        "\" without --data; a mirror holds no data: allowed is it with the data set that the run was begun "
        "with"));
  }
  if (!resumes() && data.empty()) {
    return absl::InvalidArgumentError(
        "--data is missing; allowed is a folder with a data set (`potluck data fetch mnist` and `potluck data synth` "
        "make one)");
  }
  return absl::OkStatus();
}

}  // namespace potluck
