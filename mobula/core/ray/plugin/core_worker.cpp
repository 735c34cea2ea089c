#include "mobula/core/ray/plugin/core_worker.hpp"

#include <elf.h>
#include <link.h>
#include <ray/api/ray_runtime_holder.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

// Ray's own declarations, as far as they are used (src/ray/common/id.h, status.h, core_worker/core_worker.h and others of
// Ray 2.60): names and shapes must be Ray's, so that the linker finds its functions.
namespace absl::lts_20230802 {
namespace cord_internal {
struct CordzUpdateTracker {
  enum MethodIdentifier {};
};
}  // namespace cord_internal
class Cord {
 public:
  Cord() = default;
  Cord(std::string_view bytes, cord_internal::CordzUpdateTracker::MethodIdentifier method);
  Cord(const Cord&) = delete;
  Cord& operator=(const Cord&) = delete;
  ~Cord() {
    if ((bytes_[0] & 1) != 0) DestroyCordSlow();
  }

 private:
  void DestroyCordSlow();
  alignas(8) char bytes_[16] = {};
};
void CopyCordToString(const Cord& cord, std::string* text);
}  // namespace absl::lts_20230802

namespace google::protobuf {
class Arena;
class MessageLite {
 public:
  bool ParseFromCord(const absl::lts_20230802::Cord& cord);
  bool SerializeToCord(absl::lts_20230802::Cord* cord) const;
};
}  // namespace google::protobuf

namespace ray {
#pragma pack(push, 1)
template <class T, std::size_t N>
struct PlainId {
  std::size_t hash = 0;
  char bytes[N];
  std::string text() const { return {bytes, N}; }
};
#pragma pack(pop)
class ObjectID : public PlainId<ObjectID, 28> {};
class ActorID : public PlainId<ActorID, 16> {};
static_assert(sizeof(ObjectID) == 36 && sizeof(ActorID) == 24, "Ray's identities");

class Status {
 public:
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;
  ~Status();
  bool ok() const { return state_ == nullptr; }
  std::string ToString() const;

 private:
  void* state_;
};
class Buffer;
class RayObject;
namespace rpc {
class Address {
 public:
  explicit Address(google::protobuf::Arena* arena);
  Address(const Address&) = delete;
  Address& operator=(const Address&) = delete;
  ~Address();

 private:
  alignas(8) char room_[128];  // more than it takes
};
}  // namespace rpc
namespace core {
class CoreWorker {
 public:
  const rpc::Address& GetRpcAddress() const;
  Status GetOwnershipInfo(const ObjectID& id, rpc::Address* owner, std::string* status);
  void RegisterOwnershipInfoAndResolveFuture(const ObjectID& id, const ObjectID& outer, const rpc::Address& owner,
                                             const std::string& status);
  Status SerializeActorHandle(const ActorID& actor, std::string* bytes, ObjectID* counted) const;
  ActorID DeserializeAndRegisterActorHandle(const std::string& bytes, const ObjectID& outer, bool add_local_reference);
  void RemoveActorHandleReference(const ActorID& actor);
  Status WaitForActorRegistered(const std::vector<ObjectID>& ids);
  Status AllocateReturnObject(const ObjectID& id, const std::size_t& size, const std::shared_ptr<Buffer>& metadata,
                              const std::vector<ObjectID>& contained, const rpc::Address& owner,
                              std::int64_t* inlined_bytes, std::shared_ptr<RayObject>* object);
};
class CoreWorkerProcess {
 public:
  static CoreWorker& GetCoreWorker();
};
}  // namespace core
}  // namespace ray

namespace mobula_ray {
namespace {

using absl::lts_20230802::Cord;
using ray::ActorID;
using ray::ObjectID;
using ray::core::CoreWorker;
using ray::rpc::Address;

CoreWorker& worker() {
  return ray::core::CoreWorkerProcess::GetCoreWorker();
}

template <class Id>
Id id_of(const std::string& text) {
  Id id;
  std::memset(id.bytes, 0xff, sizeof id.bytes);
  if (text.size() == sizeof id.bytes) std::memcpy(id.bytes, text.data(), text.size());
  return id;
}

void check(const ray::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

std::string bytes_of(const Address& address) {
  Cord cord;
  // Messages of protobuf begin with their base class.
  if (!reinterpret_cast<const google::protobuf::MessageLite&>(address).SerializeToCord(&cord)) {
    throw std::runtime_error("an address of Ray's can't be written");
  }
  std::string bytes;
  CopyCordToString(cord, &bytes);
  return bytes;
}

void read_address(const std::string& bytes, Address& address) {
  const Cord cord(bytes, {});
  if (!reinterpret_cast<google::protobuf::MessageLite&>(address).ParseFromCord(cord)) {
    throw std::runtime_error("an address of Ray's is damaged");
  }
}

/// What the result holds that this thread's task is about to return; one reference to each is counted.
thread_local std::vector<ObjectID> result_contents;

void release_references(const std::vector<ObjectID>& ids) {
  for (const ObjectID& id : ids) ray::internal::GetRayRuntime()->RemoveLocalReference(id.text());
}

using Allocate = ray::Status (*)(CoreWorker* worker, const ObjectID& id, const std::size_t& size,
                                 const std::shared_ptr<ray::Buffer>& metadata, const std::vector<ObjectID>& contained,
                                 const Address& owner, std::int64_t* inlined_bytes,
                                 std::shared_ptr<ray::RayObject>* object);
Allocate allocate = nullptr;

/// Makes room for a result, as CoreWorker::AllocateReturnObject, and names what it holds: the C++ worker says that it holds
/// nothing, where Python's says what there is.
ray::Status allocate_result(CoreWorker* worker, const ObjectID& id, const std::size_t& size,
                            const std::shared_ptr<ray::Buffer>& metadata, const std::vector<ObjectID>& contained,
                            const Address& owner, std::int64_t* inlined_bytes,
                            std::shared_ptr<ray::RayObject>* object) {
  const std::vector<ObjectID> held = std::exchange(result_contents, {});
  struct Release {
    const std::vector<ObjectID>& ids;
    ~Release() { release_references(ids); }
  } const after{held};  // the result has them then
  return allocate(worker, id, size, metadata, held.empty() ? contained : held, owner, inlined_bytes, object);
}

constexpr const char* kAllocate =
    "_ZN3ray4core10CoreWorker20AllocateReturnObjectERKNS_8ObjectIDERKmRKSt10shared_"
    "ptrINS_6BufferEERKSt6vectorIS2_SaIS2_EERKNS_3rpc7AddressEPlPS7_INS_9RayObjectEE";

/// Puts allocate_result() where Ray's library calls AllocateReturnObject: into its table of called functions.
int intercept_in(dl_phdr_info* info, std::size_t, void* found) {
  const std::string_view name = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  if (name.find("libray_api.so") == std::string_view::npos) return 0;
  const ElfW(Dyn)* dynamic = nullptr;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
      dynamic = reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    }
  }
  const ElfW(Rela)* calls = nullptr;
  const ElfW(Sym)* symbols = nullptr;
  const char* names = nullptr;
  std::size_t size = 0;
  for (; dynamic != nullptr && dynamic->d_tag != DT_NULL; ++dynamic) {
    if (dynamic->d_tag == DT_JMPREL) calls = reinterpret_cast<const ElfW(Rela)*>(dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_PLTRELSZ) size = dynamic->d_un.d_val;
    if (dynamic->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(dynamic->d_un.d_ptr);
  }
  if (calls == nullptr || symbols == nullptr || names == nullptr) return 1;
  for (std::size_t i = 0; i < size / sizeof *calls; ++i) {
    if (std::strcmp(names + symbols[ELF64_R_SYM(calls[i].r_info)].st_name, kAllocate) != 0) continue;
    auto* slot = reinterpret_cast<Allocate*>(info->dlpi_addr + calls[i].r_offset);
    // The table is read-only once the library is loaded.
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    auto* start = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(slot) & ~(page - 1));
    if (mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return 1;
    allocate = *slot;
    *slot = &allocate_result;
    mprotect(start, page, PROT_READ);
    *static_cast<bool*>(found) = true;
    return 1;
  }
  return 1;
}

/// Returns whether Ray's library asks us what results hold.
bool intercept() {
  static const bool done = [] {
    bool found = false;
    dl_iterate_phdr(&intercept_in, &found);
    return found;
  }();
  return done;
}

}  // namespace

std::string describe_object(const std::string& id) {
  Address owner(nullptr);
  std::string status;
  check(worker().GetOwnershipInfo(id_of<ObjectID>(id), &owner, &status));
  const std::string address = bytes_of(owner);
  const auto size = static_cast<std::uint32_t>(address.size());
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + address + status;
}

void adopt_object(const std::string& id, const std::string& outer, const std::string& description) {
  std::uint32_t size = 0;
  if (description.size() < sizeof size) throw std::runtime_error("a reference to an object is cut short");
  std::memcpy(&size, description.data(), sizeof size);
  if (size > description.size() - sizeof size) throw std::runtime_error("a reference to an object is cut short");
  Address owner(nullptr);
  read_address(description.substr(sizeof size, size), owner);
  ray::internal::GetRayRuntime()->AddLocalReference(id);
  worker().RegisterOwnershipInfoAndResolveFuture(id_of<ObjectID>(id), id_of<ObjectID>(outer), owner,
                                                 description.substr(sizeof size + size));
}

std::string describe_actor(const std::string& actor, std::string* counted) {
  std::string bytes;
  auto id = id_of<ObjectID>({});
  check(worker().SerializeActorHandle(id_of<ActorID>(actor), &bytes, &id));
  check(worker().WaitForActorRegistered({id}));
  *counted = id.text();
  return bytes;
}

std::string adopt_actor(const std::string& outer, const std::string& description) {
  return worker().DeserializeAndRegisterActorHandle(description, id_of<ObjectID>(outer), true).text();
}

void release_actor(const std::string& actor) {
  worker().RemoveActorHandleReference(id_of<ActorID>(actor));
}

std::string own_address() {
  return bytes_of(worker().GetRpcAddress());
}

void note_result_contents(const std::vector<std::string>& inner) {
  if (!intercept()) throw std::runtime_error("Ray's library is not as expected: what a result holds can't be counted");
  release_references(std::exchange(result_contents, {}));
  for (const std::string& id : inner) {
    ray::internal::GetRayRuntime()->AddLocalReference(id);
    result_contents.push_back(id_of<ObjectID>(id));
  }
}

void note_contents(const std::string& outer, const std::vector<std::string>& inner, const std::string& owner) {
  Address address(nullptr);
  read_address(owner, address);
  std::vector<ObjectID> contained;
  contained.reserve(inner.size());
  for (const std::string& id : inner) contained.push_back(id_of<ObjectID>(id));
  // Ray notes what an object holds when room for it is made as a result; this room, of a byte, is not used.
  const std::size_t size = 1;
  std::int64_t inlined_bytes = 0;
  std::shared_ptr<ray::RayObject> room;
  check(
      worker().AllocateReturnObject(id_of<ObjectID>(outer), size, nullptr, contained, address, &inlined_bytes, &room));
}

}  // namespace mobula_ray
