// A slow network, for measurements by hand: forwards connections to a port of this machine, each of them no faster than
// so many bytes a second either way, until its standard input ends. Never installed.
//
//   potluck_slow_link TO_PORT BYTES_PER_SECOND      prints the port on which it listens
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "tests/end_to_end/forwarder.h"

int main(int argc, char** argv) {
  const int port = argc == 3 ? std::atoi(argv[1]) : 0;
  const double rate = argc == 3 ? std::atof(argv[2]) : 0;
  if (port <= 0 || port > 65535 || !(rate > 0)) {
    std::fputs("usage: potluck_slow_link TO_PORT BYTES_PER_SECOND\n", stderr);
    return 2;
  }
  const potluck::end_to_end::Forwarder forwarder(port, potluck::end_to_end::SlowLink(rate));
  if (forwarder.port() == 0) {
    std::fputs("potluck_slow_link: no port to listen on\n", stderr);
    return 1;
  }
  std::printf("%d\n", forwarder.port());
  std::fflush(stdout);
  char byte = 0;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}
