// Checksums against published values.
#include "dlcm/io/hash.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

TEST(Hash, EmptyInputHasItsPublishedXxh3Value) { EXPECT_EQ(hash_bytes(""), "99aa06d3014798d86001c324468d497f"); }

TEST(Hash, FileInSeveralPiecesHasTheHashOfItsBytes) {
  const test::TemporaryDirectory directory;
  std::string content((size_t{5} << 19) + 3, 'a');
  for (size_t i = 0; i < content.size(); i += 97) {
    content[i] = static_cast<char>(i % 251);
  }
  for (const size_t length : {size_t{0}, size_t{1}, size_t{1} << 20, content.size()}) {
    write_file_synced(directory / "file", content.substr(0, length));
    EXPECT_EQ(hash_file(directory / "file"), hash_bytes(content.substr(0, length))) << length;
  }
  EXPECT_THROW(hash_file(directory / "nowhere"), Error);
}

// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
TEST(Hash, Crc32cHasItsPublishedValues) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
}

}  // namespace
}  // namespace dlcm
