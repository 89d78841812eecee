#include "coordinator/identity.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/tokens.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'790'000'000);

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

class IdentityTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/identity.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Complaint() {
    absl::StatusOr<Identity> identity = Identity::LoadOrCreate(directory_, kNow);
    return identity.ok() ? "accepted" : std::string(identity.status().message());
  }

  std::string directory_;
};

TEST_F(IdentityTest, StaysTheSameAfterARestart) {
  const std::string state = directory_ + "/state";
  absl::StatusOr<Identity> first = Identity::LoadOrCreate(state, kNow);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->pin.size(), 32u);
  EXPECT_EQ(ModeOf(state), 0700u);
  EXPECT_EQ(ModeOf(state + "/key.pem"), 0600u);
  EXPECT_EQ(ModeOf(state + "/certificate.pem"), 0600u);
  absl::StatusOr<Identity> second = Identity::LoadOrCreate(state, kNow + absl::Hours(1000));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->pin, first->pin);
  EXPECT_EQ(second->certificate_pem, first->certificate_pem);
  EXPECT_EQ(second->key_pem, first->key_pem);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(state), std::filesystem::directory_iterator()), 2)
      << "nothing temporary is left";
}

TEST_F(IdentityTest, InMemoryEachIsAnother) {
  absl::StatusOr<Identity> one = Identity::Create(kNow), two = Identity::Create(kNow);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(one->pin, two->pin);
  EXPECT_EQ(*Pin(one->certificate_pem), one->pin);
}

TEST_F(IdentityTest, AMissingCertificateIsMadeAnewWithTheSamePin) {
  absl::StatusOr<Identity> first = Identity::LoadOrCreate(directory_, kNow);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_EQ(unlink((directory_ + "/certificate.pem").c_str()), 0);
  absl::StatusOr<Identity> second = Identity::LoadOrCreate(directory_, kNow);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->pin, first->pin);
  EXPECT_NE(second->certificate_pem, first->certificate_pem);
}

TEST_F(IdentityTest, DamageIsSaidInASentence) {
  ASSERT_EQ(Complaint(), "accepted");
  const std::string key = directory_ + "/key.pem", certificate = directory_ + "/certificate.pem";
  const std::string good_key = Read(key), good_certificate = Read(certificate);

  ASSERT_TRUE(WriteSecretFile(certificate, good_certificate.substr(0, 100)).ok());
  EXPECT_EQ(Complaint(), absl::StrCat(certificate, " is damaged: remove it, and it is made anew from ", key));
  ASSERT_TRUE(WriteSecretFile(certificate, Identity::Create(kNow)->certificate_pem).ok());
  EXPECT_EQ(Complaint(), absl::StrCat(certificate, " does not belong to ", key,
                                      ": put back the right copy, or remove the certificate and it is made anew"));
  ASSERT_TRUE(WriteSecretFile(key, "").ok());
  EXPECT_EQ(Complaint(), absl::StrCat(key, " is damaged: put back a copy, or remove it and ", certificate,
                                      " to make a new key (every join string given out is then void)"));
  ASSERT_EQ(unlink(key.c_str()), 0);
  EXPECT_TRUE(absl::StrContains(Complaint(), "key.pem is missing beside")) << Complaint();
}

TEST_F(IdentityTest, AKeyThatOthersMayReadIsClosedToThem) {
  ASSERT_EQ(Complaint(), "accepted");
  ASSERT_EQ(chmod((directory_ + "/key.pem").c_str(), 0644), 0);
  ASSERT_EQ(Complaint(), "accepted");
  EXPECT_EQ(ModeOf(directory_ + "/key.pem"), 0600u);
}

TEST_F(IdentityTest, SecretFilesReplaceFilesButNotLinks) {
  const std::string path = directory_ + "/secret", target = directory_ + "/target";
  ASSERT_TRUE(WriteSecretFile(path, "one").ok());
  ASSERT_TRUE(WriteSecretFile(path, "two").ok());
  EXPECT_EQ(Read(path), "two");
  EXPECT_EQ(ModeOf(path), 0600u);
  ASSERT_EQ(unlink(path.c_str()), 0);
  std::ofstream(target) << "precious";
  ASSERT_EQ(symlink(target.c_str(), path.c_str()), 0);
  EXPECT_EQ(WriteSecretFile(path, "three").message(),
            absl::StrCat("will not write a secret to ", path, ": it is a symbolic link"));
  EXPECT_EQ(Read(target), "precious");
  EXPECT_FALSE(WriteSecretFile(directory_ + "/no/such/place", "x").ok());
}

TEST(NameTest, OfOneToSixtyFourPrintableCharactersIsAccepted) {
  EXPECT_TRUE(ValidateName("lab 3, window seat").ok());
  EXPECT_TRUE(ValidateName("J\xc3\xbcrgens GPU \xf0\x9f\x8d\xb2").ok());
  EXPECT_TRUE(ValidateName(std::string(64, 'x')).ok());
  EXPECT_EQ(ValidateName("").message(), "the name has 0 characters; it must have 1 to 64");
  EXPECT_EQ(ValidateName(std::string(65, 'x')).message(), "the name has 65 characters; it must have 1 to 64");
  EXPECT_EQ(ValidateName("a\nb").message(),
            "the name has a control character at place 2; use printable characters only");
  for (const char* bad :
       {"a\x1b[31m", "\x7f", "\xc2\x9b", "\xe2\x80\xae", "\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80"}) {
    EXPECT_FALSE(ValidateName(bad).ok());
  }
}

class TokensTest : public testing::Test {
 protected:
  Tokens::Created Make(const std::string& name, absl::Duration lifetime = absl::Hours(1)) {
    absl::StatusOr<Tokens::Created> created = tokens_.Create(name, Role::kWorker, lifetime, kNow);
    EXPECT_TRUE(created.ok()) << created.status();
    return *std::move(created);
  }

  Tokens tokens_;
};

TEST_F(TokensTest, TheSecretLetsIn) {
  const Tokens::Created lab = Make("lab"), home = Make("home");
  absl::StatusOr<Tokens::Authenticated> who = tokens_.Authenticate(home.secret, kNow);
  ASSERT_TRUE(who.ok()) << who.status();
  EXPECT_EQ(who->token, home.fact.token);
  EXPECT_EQ(who->name, "home");
  EXPECT_EQ(who->role, Role::kWorker);
  EXPECT_EQ(lab.secret.size(), 32u);
  EXPECT_EQ(lab.fact.hash.size(), 32u);
  EXPECT_EQ(lab.fact.token, TokenId{1});
  EXPECT_EQ(home.fact.token, TokenId{2});
}

TEST_F(TokensTest, WrongExpiredAndRevokedAreToldApart) {
  const Tokens::Created lab = Make("lab"), home = Make("home");
  EXPECT_EQ(tokens_.Authenticate("guess", kNow).status(),
            absl::UnauthenticatedError(
                "this coordinator does not know the join string's token; ask whoever runs it for a new join string"));
  const absl::Time late = kNow + absl::Hours(1);
  EXPECT_EQ(tokens_.Authenticate(lab.secret, late).status(),
            absl::PermissionDeniedError("token 1 ('lab') expired at 2026-09-21 15:13 UTC; ask whoever runs the "
                                        "coordinator for a new join string"));
  ASSERT_TRUE(tokens_.Revoke(home.fact.token, kNow).ok());
  EXPECT_EQ(tokens_.Authenticate(home.secret, kNow).status(),
            absl::PermissionDeniedError(
                "token 2 ('home') was revoked; ask whoever runs the coordinator for a new join string"));
}

TEST_F(TokensTest, ASessionOutlivesExpiryButNotRevocation) {
  const Tokens::Created lab = Make("lab", absl::Nanoseconds(1));
  EXPECT_TRUE(tokens_.AuthenticateSession(lab.secret).ok());
  ASSERT_TRUE(tokens_.Revoke(lab.fact.token, kNow).ok());
  EXPECT_EQ(tokens_.AuthenticateSession(lab.secret).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(TokensTest, RevokingAnswersWithTheFactOnce) {
  const Tokens::Created lab = Make("lab");
  absl::StatusOr<TokenRevoked> fact = tokens_.Revoke(lab.fact.token, kNow);
  ASSERT_TRUE(fact.ok());
  EXPECT_EQ(fact->token, lab.fact.token);
  EXPECT_EQ(fact->at, kNow);
  EXPECT_EQ(tokens_.Revoke(lab.fact.token, kNow).status().message(), "token 1 ('lab') is revoked already");
  EXPECT_EQ(tokens_.Revoke(TokenId{9}, kNow).status().message(), "there is no token 9");
}

TEST_F(TokensTest, StoredTokensWorkAfterARestartAndIdsAreNotUsedAgain) {
  const Tokens::Created lab = Make("lab"), home = Make("home", absl::InfiniteDuration());
  EXPECT_EQ(home.fact.expires, absl::InfiniteFuture());
  Tokens again;
  again.Load({home.fact}, {lab.fact});
  EXPECT_TRUE(again.Authenticate(home.secret, kNow + absl::Hours(1e6)).ok());
  EXPECT_EQ(again.Authenticate(lab.secret, kNow).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(again.Create("new", Role::kAdmin, absl::Hours(1), kNow)->fact.token, TokenId{3});
  const std::vector<Tokens::Listed> list = again.List();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_TRUE(list[0].revoked);
  EXPECT_EQ(list[1].created.name, "home");
}

TEST_F(TokensTest, AForgottenTokenIsUnknown) {
  const Tokens::Created lab = Make("lab");
  tokens_.Forget(lab.fact.token);
  EXPECT_EQ(tokens_.Authenticate(lab.secret, kNow).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(tokens_.List().empty());
}

TEST_F(TokensTest, BadNamesAndLifetimesAreRefused) {
  EXPECT_FALSE(tokens_.Create("", Role::kWorker, absl::Hours(1), kNow).ok());
  EXPECT_EQ(tokens_.Create("lab", Role::kWorker, absl::ZeroDuration(), kNow).status().message(),
            "the token's lifetime is 0; it must be longer than nothing");
}

TEST_F(TokensTest, SecretsDiffer) {
  std::set<std::string> secrets;
  for (int i = 0; i < 1000; ++i) secrets.insert(*NewSecret());
  EXPECT_EQ(secrets.size(), 1000u);
}

}  // namespace
}  // namespace potluck
