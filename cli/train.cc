// `potluck train`: one training job, from its data to its model; without a server, on this machine.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/blob.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/follow.h"
#include "cli/mirror_folder.h"
#include "cli/mirrored_run.h"
#include "cli/model_file.h"
#include "cli/output.h"
#include "cli/progress_display.h"
#include "cli/signals.h"
#include "cli/submission.h"
#include "cli/train_files.h"
#include "cli/train_flags.h"
#include "cli/train_mirror.h"
#include "cli/train_options.h"
#include "cli/train_probe.h"
#include "cli/train_progress.h"
#include "cli/train_result.h"
#include "kernels/cnn/data/readers.h"
#include "kernels/cnn/data/shards.h"
#include "kernels/cnn/payload.h"

namespace potluck {
namespace {

// Between the cancelling of a job of this machine's own and its end, with its state saved.
constexpr absl::Duration kSavingTime = absl::Seconds(30);

// One run of the command.
class Run {
 public:
  Run(const TrainOptions& flags, Interrupt& interrupt, ProgressDisplay& display)
      : flags_(flags), interrupt_(interrupt), display_(display), started_(absl::ToUnixMillis(absl::Now())) {}

  int Go() {
    if (absl::Status prepared = Prepare(); !prepared.ok()) return FailUsage(prepared);
    if (absl::Status connected = ConnectToCoordinator(); !connected.ok()) {
      return absl::IsInvalidArgument(connected) ? FailUsage(connected) : Fail(connected);
    }
    if (flags_.plan) return Plan();
    absl::StatusOr<uint64_t> job = flags_.resume_job != 0 ? Resume() : SubmitNew();
    if (!job.ok()) {
      if (flags_.resume_job == 0) Forget();
      return Fail(Interrupted(job.status()));
    }
    job_ = *job;
    if (embedded()) folder_->NoteUnfinished({job_, parameter_bytes_});
    if (mirror_folder_) StartMirror();
    const absl::StatusOr<v1::JobStatus> status = Follow(
        *client_, job_, flags_.job.patience, interrupt_, display_,
        /*waits_for_others=*/!embedded(), WithMirror(WithPortableNote(MakeJobProgress(), display_), mirror_.get()));
    display_.Clear();
    if (!status.ok()) return interrupt_.reason().ok() ? Fail(status.status()) : Leave(status.status());
    return Finish(*status);
  }

 private:
  bool embedded() const { return flags_.local.embedded(); }

  // All that can be wrong with what was typed, before anything is started.
  absl::Status Prepare() {
    if (!flags_.resume_from.empty()) {
      if (absl::Status loaded = LoadMirror(); !loaded.ok()) return loaded;
    } else if (!flags_.resumes()) {
      absl::StatusOr<cnn::Spec> spec = MakeSpec(flags_.train);
      if (!spec.ok()) return spec.status();
      spec_ = *std::move(spec);
      if (absl::Status loaded = LoadData(); !loaded.ok()) return loaded;
      if (absl::Status loaded = LoadInitialParameters(); !loaded.ok()) return loaded;
    }
    if (flags_.plan) return absl::OkStatus();  // Leaves nothing behind.
    if (absl::Status opened = OpenMirror(); !opened.ok()) return opened;
    absl::StatusOr<TrainFolder> folder = OpenFolder();
    if (!folder.ok()) return folder.status();
    folder_ = *std::move(folder);
    if (!embedded()) return absl::OkStatus();
    if (flags_.resume_job != 0 && !folder_->HasState()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--resume is ", flags_.resume_job, ", but ", folder_->state_directory(),
                       " holds no unfinished job; allowed is the --out of one that was interrupted"));
    }
    if (flags_.resume_job == 0 && folder_->HasState()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--out is ", folder_->path(), ", where a job was left unfinished; allowed is another folder, or to ",
          "take that job up again: potluck train --resume ", std::max<uint64_t>(1, folder_->ReadUnfinished().job),
          " --out ", folder_->path()));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<TrainFolder> OpenFolder() const {
    const auto is_taken = [](const TrainFolder& folder) { return folder.HasResult() || folder.HasState(); };
    if (!flags_.out.empty()) {
      absl::StatusOr<TrainFolder> folder = TrainFolder::Open(flags_.out);
      if (folder.ok() && folder->HasResult() && flags_.resume_job == 0 && !flags_.overwrite) {
        return absl::InvalidArgumentError(absl::StrCat(
            "--out is ", flags_.out, ", which holds a finished run; allowed is ", "another folder, or --overwrite"));
      }
      return folder;
    }
    const std::string name = spec_.model.name.empty() ? "trained" : spec_.model.name;
    absl::StatusOr<TrainFolder> folder = TrainFolder::Open(name);
    for (int number = 2; folder.ok() && is_taken(*folder) && !flags_.overwrite; ++number) {
      folder = TrainFolder::Open(absl::StrCat(name, "-", number));
    }
    return folder;
  }

  absl::Status LoadData() {
    const Result<cnn::Model> model = cnn::MakeModel(spec_.model);
    if (!model.ok()) return absl::InvalidArgumentError(model.status().message());
    parameter_bytes_ = model->parameter_count * sizeof(float);
    Result<cnn::DataPair> loaded = cnn::ReadDataFolder(flags_.data, {.classes = model->classes});
    if (!loaded.ok()) return absl::InvalidArgumentError(loaded.status().message());
    for (const auto& [set, spec] : {std::pair(&loaded->train, &spec_.train), std::pair(&loaded->test, &spec_.test)}) {
      *spec = cnn::DescribeData(*set);
      for (uint64_t i = 0; i < cnn::ShardCount(spec->samples, spec->samples_a_shard); ++i) {
        blobs_.push_back(cnn::EncodeShard(*set, spec->samples_a_shard, i));
        spec->shards.push_back(BlobDigest(DescribeBlob(blobs_.back())));
      }
    }
    if (flags_.plan) data_ = *std::move(loaded);
    const Status checked = cnn::CheckSpec(spec_);
    return checked.ok() ? absl::OkStatus() : absl::InvalidArgumentError(checked.message());
  }

  // The newest state of the mirror that is whole, and what it is of.
  absl::Status LoadMirror() {
    absl::StatusOr<MirroredRun> run =
        LoadMirroredRun(flags_.resume_from, [this](const std::string& sentence) { display_.Say(sentence); });
    if (!run.ok()) return run.status();
    name_ = run->state.job_name;
    spec_ = run->state.spec;
    ChangeLimits(flags_.train, spec_);
    spec_.initial_parameters.clear();
    spec_.initial_state = run->state.digest;
    if (absl::Status loaded = LoadData(); !loaded.ok()) return loaded;
    if (absl::Status same = AdoptSameData(run->state.spec, flags_.resume_from, flags_.data, spec_); !same.ok()) {
      return same;
    }
    blobs_.push_back(std::move(run->bytes));
    goes_on_ = absl::StrCat("going on from step ", run->step, " of the run in ", flags_.resume_from);
    return absl::OkStatus();
  }

  // Where the states shall be copied to: what is there is this run's, or may go.
  absl::Status OpenMirror() {
    if (flags_.mirror_path().empty()) return absl::OkStatus();
    absl::StatusOr<MirrorFolder> folder = MirrorFolder::Create(flags_.mirror_path());
    if (!folder.ok()) return folder.status();
    mirror_folder_ = *std::move(folder);
    if (flags_.overwrite || flags_.resume_job != 0) return absl::OkStatus();  // Of a job: once it is known.
    return flags_.resumes() ? CheckMirrorFits(*mirror_folder_, spec_) : CheckMirrorIsFree(*mirror_folder_);
  }

  absl::Status CheckMirror(const std::string& encoded_spec) const {
    const Result<cnn::Spec> spec = cnn::DecodeSpec(encoded_spec);
    if (!mirror_folder_ || flags_.overwrite || !spec.ok()) return absl::OkStatus();
    return CheckMirrorFits(*mirror_folder_, *spec);
  }

  void StartMirror() {
    TrainMirrorOptions options;
    mirror_client_ = std::make_unique<Client>(join_, &mirror_over_);
    options.fetch = [this](uint64_t job, const std::string& digest) { return mirror_client_->GetBlob(job, digest); };
    options.cancel = [this] { mirror_over_.Raise(absl::CancelledError("the mirror is complete")); };
    options.say = [this](const std::string& sentence) { display_.Say(sentence); };
    mirror_ = std::make_unique<TrainMirror>(*mirror_folder_, std::move(options));
  }

  // What the mirror lacks at the end; empty: nothing.
  std::string FinishMirror(const v1::JobStatus& status, const std::string& state,
                           const std::vector<std::string>& files) {
    if (mirror_ == nullptr) return "";
    display_.Show(absl::StrCat("writing to the mirror ", mirror_folder_->path()));
    const absl::Status finished = mirror_->Finish(status, state, files);
    display_.Clear();
    if (finished.ok()) return "";
    const std::string lacking =
        absl::StrCat("the mirror ", mirror_folder_->path(), " is not complete: ", std::string(finished.message()));
    display_.Say(lacking);
    return lacking;
  }

  absl::Status LoadInitialParameters() {
    if (flags_.init.empty()) return absl::OkStatus();
    const Result<cnn::Model> model = cnn::MakeModel(spec_.model);
    if (!model.ok()) return absl::InvalidArgumentError(model.status().message());
    const absl::StatusOr<std::vector<float>> parameters = ReadParameters(flags_.init, *model);
    if (!parameters.ok()) return absl::InvalidArgumentError(parameters.status().message());
    std::string bytes(reinterpret_cast<const char*>(parameters->data()), parameters->size() * sizeof(float));
    spec_.initial_parameters = BlobDigest(DescribeBlob(bytes));
    blobs_.push_back(std::move(bytes));
    return absl::OkStatus();
  }

  absl::Status ConnectToCoordinator() {
    if (flags_.resume_job != 0) parameter_bytes_ = folder_->ReadUnfinished().parameter_bytes;
    const absl::StatusOr<JoinString> join =
        OpenTable(flags_.local, flags_.job, folder_ ? folder_->state_directory() : "", parameter_bytes_, interrupt_,
                  display_, local_);
    if (!join.ok()) return join.status();
    join_ = *join;
    client_ = std::make_unique<Client>(join_, &interrupt_);
    return absl::OkStatus();
  }

  absl::Status Put(const std::vector<std::string>& blobs) {
    size_t put = 0;
    for (const std::string& blob : blobs) {
      display_.Show(absl::StrCat("handing the data over: ", ++put, " of ", blobs.size(), " shards"));
      const absl::StatusOr<std::string> digest = client_->PutBlob(blob);
      if (!digest.ok()) return digest.status();
    }
    return absl::OkStatus();
  }

  // The job as it was asked for by one method; by the other as it would be with that one's defaults.
  int Plan() {
    cnn::Spec synchronous = spec_, local = spec_;
    absl::StatusOr<cnn::Spec> made = MakeSpec(OtherMethod(flags_.train));
    if (!made.ok()) return FailUsage(made.status());
    made->train = spec_.train;
    made->test = spec_.test;
    (flags_.train.local() ? synchronous : local) = *made;
    const auto submit = [this](const cnn::Spec& spec,
                               const std::vector<std::string>& blobs) -> absl::StatusOr<uint64_t> {
      if (absl::Status put = Put(blobs); !put.ok()) return put;
      JobFlags job = flags_.job;
      job.name = "plan";
      job.verify = 0;
      return Submit(spec, job);
    };
    Client remover(join_);  // Calls of the other one end with Ctrl-C.
    const absl::StatusOr<PlanInput> input =
        MeasureForPlan(synchronous, local, data_, *client_, remover, submit, interrupt_, display_);
    display_.Clear();
    if (!input.ok()) return Fail(Interrupted(input.status()));
    const std::vector<PlanRow> rows = Predict(*input);
    if (flags_.job.json) {
      PrintJson(PlanJson(*input, rows));
    } else {
      std::fputs(PlanText(*input, rows).c_str(), stdout);
    }
    return kExitOk;
  }

  absl::StatusOr<uint64_t> SubmitNew() {
    if (!goes_on_.empty()) display_.Say(goes_on_);
    if (absl::Status put = Put(blobs_); !put.ok()) return put;
    blobs_.clear();
    JobFlags job = flags_.job;
    if (job.name.empty()) job.name = name_;
    return Submit(spec_, job);
  }

  absl::StatusOr<uint64_t> Submit(const cnn::Spec& spec, const JobFlags& job) {
    v1::SubmitRequest request = job.Request("cnn", cnn::Encode(spec));
    for (const cnn::DataSpec* data : {&spec.train, &spec.test}) {
      for (const std::string& shard : data->shards) request.add_blobs(shard);
    }
    for (const std::string* blob : {&spec.initial_parameters, &spec.initial_state}) {
      if (!blob->empty()) request.add_blobs(*blob);
    }
    return SubmitJob(*client_, std::move(request));
  }

  // A job that still runs is followed; of one that has ended, its last state begins a new one.
  absl::StatusOr<uint64_t> Resume() {
    v1::ListReply jobs;
    if (absl::Status status = client_->Call(&v1::Jobs::StubInterface::List, v1::ListRequest(), &jobs, /*retry=*/true);
        !status.ok()) {
      return status;
    }
    const v1::JobStatus* found = nullptr;
    std::string known;
    for (const v1::JobStatus& job : jobs.jobs()) {
      if (job.workload() != "cnn") continue;
      absl::StrAppend(&known, known.empty() ? "" : ", ", job.job());
      if (job.job() == flags_.resume_job) found = &job;
    }
    if (found == nullptr) {
      return absl::NotFoundError(absl::StrCat("--resume is ", flags_.resume_job,
                                              "; allowed is a training job that is there",
                                              known.empty() ? " (there is none)" : absl::StrCat(": ", known)));
    }
    if (absl::Status fits = CheckMirror(found->spec()); !fits.ok()) return fits;
    if (!HasEnded(*found)) {
      if (flags_.train.ChangesLimits()) {
        return absl::FailedPreconditionError(absl::StrCat(
            "job ", found->job(), " still runs, and its limits cannot be changed; allowed are --epochs, --max-steps, ",
            "--target-accuracy and --time-limit for one that has ended"));
      }
      display_.Say(absl::StrCat("job ", found->job(), " goes on where it was"));
      return found->job();
    }
    if (found->saved_state().empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("job ", found->job(), " has ended and no state of it was saved; train anew, without --resume"));
    }
    Result<cnn::Spec> spec = cnn::DecodeSpec(found->spec());
    if (!spec.ok()) return absl::InternalError(spec.status().message());
    const cnn::Spec before = *spec;
    ChangeLimits(flags_.train, *spec);
    // Done, and nothing more is asked for: its files are what is wanted.
    if (found->state() == v1::JobStatus::DONE && *spec == before) return found->job();
    spec->initial_parameters.clear();
    spec->initial_state = found->saved_state();
    display_.Say(absl::StrCat("job ", found->job(), " has ended; a new one goes on from its last state"));
    JobFlags job;
    job.name = found->name();
    job.priority = found->priority();
    job.weight = found->weight();
    job.verify = found->verify();
    return Submit(*spec, job);
  }

  // Ends what runs on this machine and takes its state away: there is nothing to go on from.
  void Forget() {
    if (!embedded()) return;
    client_.reset();
    mirror_.reset();
    local_.reset();  // Before what it works in goes.
    if (absl::Status removed = folder_->RemoveState(); !removed.ok()) display_.Say(std::string(removed.message()));
  }

  absl::Status Interrupted(const absl::Status& status) const {
    return interrupt_.reason().ok() ? status : interrupt_.reason();
  }

  // Ctrl-C, or workers that never come up. A server goes on with its job; one of this machine's own is ended with its
  // state saved, so that it can be taken up again.
  int Leave(const absl::Status& reason) {
    if (!embedded()) {
      return Fail(absl::CancelledError(
          absl::StrCat("interrupted; job ", job_, " goes on at the server: `potluck train --resume ", job_,
                       " --coordinator ... --out ", folder_->path(),
                       "` follows it and fetches the model, `potluck jobs cancel ", job_, "` ends it")));
    }
    Client client(join_);  // The other one's calls are over.
    v1::JobRef request;
    request.set_job(job_);
    v1::Empty reply;
    display_.Show("saving the state");
    client.Call(&v1::Jobs::StubInterface::Cancel, request, &reply, false, kSavingTime).IgnoreError();
    display_.Clear();
    MirrorLastState(client);
    if (!absl::IsCancelled(reason)) return Fail(reason);
    return Fail(absl::CancelledError(
        absl::StrCat("interrupted; to go on: potluck train --resume ", job_, " --out ", folder_->path())));
  }

  // Of a job of this machine's that was ended.
  void MirrorLastState(Client& client) {
    v1::ListReply jobs;
    if (mirror_ == nullptr ||
        !client.Call(&v1::Jobs::StubInterface::List, v1::ListRequest(), &jobs, false, kCallDeadline).ok()) {
      return;
    }
    for (const v1::JobStatus& job : jobs.jobs()) {
      if (job.job() != job_ || job.saved_state().empty()) continue;
      const absl::StatusOr<std::string> state = client.GetBlob(job_, job.saved_state());
      if (state.ok()) FinishMirror(job, *state, {});
    }
  }

  int Finish(const v1::JobStatus& status) {
    const int64_t now = absl::ToUnixMillis(absl::Now());
    const absl::StatusOr<TrainResult> result = ReadTrainResult(status, now);
    if (!result.ok()) return Fail(result.status());
    TrainFolder::Written written;
    absl::Status outcome = Outcome(status);
    if (!status.saved_state().empty()) {
      const absl::StatusOr<std::string> state = client_->GetBlob(job_, status.saved_state());
      if (!state.ok()) return Fail(state.status());
      absl::StatusOr<TrainFolder::Written> files =
          folder_->Write(*result, *state, flags_.typed, started_, status.ended_unix_ms());
      if (!files.ok()) return FailLocally(files.status());
      written = *std::move(files);
      mirror_lacks_ = FinishMirror(status, *state, written.files);
    } else if (outcome.ok()) {
      outcome = absl::DataLossError(absl::StrCat(
          "job ", job_, " is done, but its state could not be saved, so there is no model: ", status.message()));
    }
    if (!written.note.empty()) display_.Say(written.note);
    Print(*result, written);
    if (!outcome.ok()) {
      FlushOutput().IgnoreError();
      const std::string kept =
          written.files.empty() ? "" : absl::StrCat("; the last state that was saved is in ", folder_->path());
      if (written.files.empty()) Forget();
      return Fail(absl::Status(outcome.code(), absl::StrCat(outcome.message(), kept)));
    }
    Forget();
    return kExitOk;
  }

  void Print(const TrainResult& result, const TrainFolder::Written& written) const {
    if (flags_.job.json) {
      nlohmann::ordered_json json = ResultJson(result);
      json["model_sha256"] = written.model_sha256;
      json["files"] = written.files;
      if (mirror_folder_) {
        json["mirror"] = mirror_folder_->path();
        json["mirror_lacks"] = mirror_lacks_;
      }
      PrintJson(json);
      return;
    }
    std::fputs(ResultText(result).c_str(), stdout);
    if (!written.files.empty()) {
      std::printf("\n%s holds model.safetensors (SHA-256 %.16s...)%s, metrics and the run record\n",
                  Printable(folder_->path()).c_str(), written.model_sha256.c_str(),
                  written.note.empty() ? ", model.onnx" : "");
    }
  }

  const TrainOptions& flags_;
  Interrupt& interrupt_;
  ProgressDisplay& display_;
  const int64_t started_;
  cnn::Spec spec_;
  cnn::DataPair data_;              // For a plan.
  std::vector<std::string> blobs_;  // To be put before the job is submitted.
  std::optional<TrainFolder> folder_;
  JoinString join_;
  std::unique_ptr<LocalRun> local_;
  std::unique_ptr<Client> client_;
  std::optional<MirrorFolder> mirror_folder_;
  Interrupt mirror_over_;
  std::unique_ptr<Client> mirror_client_;
  std::unique_ptr<TrainMirror> mirror_;  // After what it uses.
  std::string mirror_lacks_;             // At the end; empty: nothing.
  std::string goes_on_;                  // Said of a mirror, once there is nothing to object to.
  std::string name_;                     // The job's, of a mirror.
  uint64_t job_ = 0;
  uint64_t parameter_bytes_ = 0;  // 0: not known.
};

}  // namespace

int RunTrain(const Args& args) {
  TrainOptions flags;
  flags.typed = args;
  Arguments arguments("train",
                      "Trains a convolutional network on several workers at once and writes down its model.\n"
                      "Without --coordinator everything runs on this machine.");
  flags.Declare(arguments);
  if (const std::optional<int> code = arguments.Read(args)) return *code;
  flags.local.ReadEnvironment();
  if (absl::Status status = flags.Check(); !status.ok()) return FailUsage(status);
  BlockSignals();
  Interrupt interrupt;
  ProgressDisplay display;
  const SignalWatcher watcher([&](int count) {
    if (count > 1) _exit(kExitInterrupted);  // The local workers end with this process.
    interrupt.Raise(absl::CancelledError("interrupted"));
  });
  return Run(flags, interrupt, display).Go();
}

}  // namespace potluck
