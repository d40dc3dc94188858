#include "dlcm/eval/subjects.h"

#include <algorithm>
#include <array>

namespace dlcm {
namespace {

using std::string_view_literals::operator""sv;

struct SubjectName {
  std::string_view subject, chinese;
};

constexpr std::array kStem = {
    "abstract_algebra"sv,
    "anatomy"sv,
    "astronomy"sv,
    "college_biology"sv,
    "college_chemistry"sv,
    "college_computer_science"sv,
    "college_mathematics"sv,
    "college_physics"sv,
    "computer_security"sv,
    "conceptual_physics"sv,
    "electrical_engineering"sv,
    "elementary_mathematics"sv,
    "high_school_biology"sv,
    "high_school_chemistry"sv,
    "high_school_computer_science"sv,
    "high_school_mathematics"sv,
    "high_school_physics"sv,
    "high_school_statistics"sv,
    "machine_learning"sv,
};
constexpr std::array kHumanities = {
    "formal_logic"sv,
    "high_school_european_history"sv,
    "high_school_us_history"sv,
    "high_school_world_history"sv,
    "international_law"sv,
    "jurisprudence"sv,
    "logical_fallacies"sv,
    "moral_disputes"sv,
    "moral_scenarios"sv,
    "philosophy"sv,
    "prehistory"sv,
    "professional_law"sv,
    "world_religions"sv,
};
constexpr std::array kSocialSciences = {
    "econometrics"sv,
    "high_school_geography"sv,
    "high_school_government_and_politics"sv,
    "high_school_macroeconomics"sv,
    "high_school_microeconomics"sv,
    "high_school_psychology"sv,
    "human_sexuality"sv,
    "professional_psychology"sv,
    "public_relations"sv,
    "security_studies"sv,
    "sociology"sv,
    "us_foreign_policy"sv,
};
constexpr std::array kOther = {
    "business_ethics"sv,
    "clinical_knowledge"sv,
    "college_medicine"sv,
    "global_facts"sv,
    "human_aging"sv,
    "management"sv,
    "marketing"sv,
    "medical_genetics"sv,
    "miscellaneous"sv,
    "nutrition"sv,
    "professional_accounting"sv,
    "professional_medicine"sv,
    "virology"sv,
};
constexpr std::array kCEval = {
    SubjectName{"accountant", "注册会计师"},
    SubjectName{"advanced_mathematics", "高等数学"},
    SubjectName{"art_studies", "艺术学"},
    SubjectName{"basic_medicine", "基础医学"},
    SubjectName{"business_administration", "工商管理"},
    SubjectName{"chinese_language_and_literature", "中国语言文学"},
    SubjectName{"civil_servant", "公务员"},
    SubjectName{"clinical_medicine", "临床医学"},
    SubjectName{"college_chemistry", "大学化学"},
    SubjectName{"college_economics", "大学经济学"},
    SubjectName{"college_physics", "大学物理"},
    SubjectName{"college_programming", "大学编程"},
    SubjectName{"computer_architecture", "计算机组成"},
    SubjectName{"computer_network", "计算机网络"},
    SubjectName{"discrete_mathematics", "离散数学"},
    SubjectName{"education_science", "教育学"},
    SubjectName{"electrical_engineer", "注册电气工程师"},
    SubjectName{"environmental_impact_assessment_engineer", "环境影响评价工程师"},
    SubjectName{"fire_engineer", "注册消防工程师"},
    SubjectName{"high_school_biology", "高中生物"},
    SubjectName{"high_school_chemistry", "高中化学"},
    SubjectName{"high_school_chinese", "高中语文"},
    SubjectName{"high_school_geography", "高中地理"},
    SubjectName{"high_school_history", "高中历史"},
    SubjectName{"high_school_mathematics", "高中数学"},
    SubjectName{"high_school_physics", "高中物理"},
    SubjectName{"high_school_politics", "高中政治"},
    SubjectName{"ideological_and_moral_cultivation", "思想道德修养与法律基础"},
    SubjectName{"law", "法学"},
    SubjectName{"legal_professional", "法律职业资格"},
    SubjectName{"logic", "逻辑学"},
    SubjectName{"mao_zedong_thought", "毛泽东思想和中国特色社会主义理论体系概论"},
    SubjectName{"marxism", "马克思主义基本原理"},
    SubjectName{"metrology_engineer", "注册计量师"},
    SubjectName{"middle_school_biology", "初中生物"},
    SubjectName{"middle_school_chemistry", "初中化学"},
    SubjectName{"middle_school_geography", "初中地理"},
    SubjectName{"middle_school_history", "初中历史"},
    SubjectName{"middle_school_mathematics", "初中数学"},
    SubjectName{"middle_school_physics", "初中物理"},
    SubjectName{"middle_school_politics", "初中政治"},
    SubjectName{"modern_chinese_history", "近代史纲要"},
    SubjectName{"operating_system", "操作系统"},
    SubjectName{"physician", "医师资格"},
    SubjectName{"plant_protection", "植物保护"},
    SubjectName{"probability_and_statistics", "概率统计"},
    SubjectName{"professional_tour_guide", "导游资格"},
    SubjectName{"sports_science", "体育学"},
    SubjectName{"tax_accountant", "税务师"},
    SubjectName{"teacher_qualification", "教师资格"},
    SubjectName{"urban_and_rural_planner", "注册城乡规划师"},
    SubjectName{"veterinary_medicine", "兽医学"},
};
constexpr std::array kCmmlu = {
    SubjectName{"agronomy", "农学"},
    SubjectName{"anatomy", "解剖学"},
    SubjectName{"ancient_chinese", "古汉语"},
    SubjectName{"arts", "艺术学"},
    SubjectName{"astronomy", "天文学"},
    SubjectName{"business_ethics", "商业伦理"},
    SubjectName{"chinese_civil_service_exam", "中国公务员考试"},
    SubjectName{"chinese_driving_rule", "中国驾驶规则"},
    SubjectName{"chinese_food_culture", "中国饮食文化"},
    SubjectName{"chinese_foreign_policy", "中国外交政策"},
    SubjectName{"chinese_history", "中国历史"},
    SubjectName{"chinese_literature", "中国文学"},
    SubjectName{"chinese_teacher_qualification", "中国教师资格"},
    SubjectName{"clinical_knowledge", "临床知识"},
    SubjectName{"college_actuarial_science", "大学精算学"},
    SubjectName{"college_education", "大学教育学"},
    SubjectName{"college_engineering_hydrology", "大学工程水文学"},
    SubjectName{"college_law", "大学法律"},
    SubjectName{"college_mathematics", "大学数学"},
    SubjectName{"college_medical_statistics", "大学医学统计"},
    SubjectName{"college_medicine", "大学医学"},
    SubjectName{"computer_science", "计算机科学"},
    SubjectName{"computer_security", "计算机安全"},
    SubjectName{"conceptual_physics", "概念物理学"},
    SubjectName{"construction_project_management", "建设工程管理"},
    SubjectName{"economics", "经济学"},
    SubjectName{"education", "教育学"},
    SubjectName{"electrical_engineering", "电气工程"},
    SubjectName{"elementary_chinese", "小学语文"},
    SubjectName{"elementary_commonsense", "小学常识"},
    SubjectName{"elementary_information_and_technology", "小学信息技术"},
    SubjectName{"elementary_mathematics", "初等数学"},
    SubjectName{"ethnology", "民族学"},
    SubjectName{"food_science", "食品科学"},
    SubjectName{"genetics", "遗传学"},
    SubjectName{"global_facts", "全球事实"},
    SubjectName{"high_school_biology", "高中生物"},
    SubjectName{"high_school_chemistry", "高中化学"},
    SubjectName{"high_school_geography", "高中地理"},
    SubjectName{"high_school_mathematics", "高中数学"},
    SubjectName{"high_school_physics", "高中物理学"},
    SubjectName{"high_school_politics", "高中政治"},
    SubjectName{"human_sexuality", "人类性行为"},
    SubjectName{"international_law", "国际法学"},
    SubjectName{"journalism", "新闻学"},
    SubjectName{"jurisprudence", "法理学"},
    SubjectName{"legal_and_moral_basis", "法律与道德基础"},
    SubjectName{"logical", "逻辑学"},
    SubjectName{"machine_learning", "机器学习"},
    SubjectName{"management", "管理学"},
    SubjectName{"marketing", "市场营销"},
    SubjectName{"marxist_theory", "马克思主义理论"},
    SubjectName{"modern_chinese", "现代汉语"},
    SubjectName{"nutrition", "营养学"},
    SubjectName{"philosophy", "哲学"},
    SubjectName{"professional_accounting", "专业会计"},
    SubjectName{"professional_law", "专业法学"},
    SubjectName{"professional_medicine", "专业医学"},
    SubjectName{"professional_psychology", "专业心理学"},
    SubjectName{"public_relations", "公共关系"},
    SubjectName{"security_study", "安全研究"},
    SubjectName{"sociology", "社会学"},
    SubjectName{"sports_science", "体育学"},
    SubjectName{"traditional_chinese_medicine", "中医中药"},
    SubjectName{"virology", "病毒学"},
    SubjectName{"world_history", "世界历史"},
    SubjectName{"world_religions", "世界宗教"},
};

template <typename Names>
std::string_view chinese_name(const Names& names, std::string_view subject) {
  const auto found =
      std::find_if(names.begin(), names.end(), [&](const auto& name) { return name.subject == subject; });
  return found == names.end() ? std::string_view() : found->chinese;
}

template <typename Names>
bool holds(const Names& names, std::string_view subject) {
  return std::find(names.begin(), names.end(), subject) != names.end();
}

}  // namespace

std::string_view mmlu_category(std::string_view subject) {
  if (holds(kStem, subject)) return "stem";
  if (holds(kHumanities, subject)) return "humanities";
  if (holds(kSocialSciences, subject)) return "social_sciences";
  return holds(kOther, subject) ? "other" : std::string_view();
}

std::string_view ceval_subject_name(std::string_view subject) { return chinese_name(kCEval, subject); }

std::string_view cmmlu_subject_name(std::string_view subject) { return chinese_name(kCmmlu, subject); }

}  // namespace dlcm
