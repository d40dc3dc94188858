#include "dlcm/serve/task_threads.h"

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <utility>

namespace dlcm {

namespace asio = boost::asio;

struct TaskThreads::State {
  explicit State(size_t count) : pool(count) {}
  asio::thread_pool pool;
};

TaskThreads::TaskThreads(size_t count) : state_(std::make_shared<State>(count)) {}

TaskThreads::~TaskThreads() { state_->pool.join(); }

std::shared_ptr<TaskStrand> TaskThreads::strand() {
  class Strand : public TaskStrand {
   public:
    explicit Strand(std::shared_ptr<State> state) : state_(std::move(state)), strand_(state_->pool.get_executor()) {}
    void post(std::function<void()> task) override { asio::post(strand_, std::move(task)); }

   private:
    std::shared_ptr<State> state_;  // before the strand, which uses it
    asio::strand<asio::thread_pool::executor_type> strand_;
  };
  return std::make_shared<Strand>(state_);
}

}  // namespace dlcm
