// SPDX-License-Identifier: Apache-2.0
#include "eval/mmlu_categories.h"

#include <string.h>

enum { STEM, HUMANITIES, SOCIAL, OTHER };

const char *const pc_mmlu_categories[PC_MMLU_CATEGORIES] = {
    [STEM] = "STEM",
    [HUMANITIES] = "humanities",
    [SOCIAL] = "social sciences",
    [OTHER] = "other (business, health, misc.)",
};

/* In upstream's order, which is that of each one's first subject. */
enum {
    MATH,
    HEALTH,
    PHYSICS,
    BUSINESS,
    BIOLOGY,
    CHEMISTRY,
    COMPUTING,
    ECONOMICS,
    ENGINEERING,
    PHILOSOPHY,
    MISCELLANY,
    HISTORY,
    GEOGRAPHY,
    POLITICS,
    PSYCHOLOGY,
    CULTURE,
    LAW
};

const char *const pc_mmlu_subcategories[PC_MMLU_SUBCATEGORIES] = {
    [MATH] = "math",
    [HEALTH] = "health",
    [PHYSICS] = "physics",
    [BUSINESS] = "business",
    [BIOLOGY] = "biology",
    [CHEMISTRY] = "chemistry",
    [COMPUTING] = "computer science",
    [ECONOMICS] = "economics",
    [ENGINEERING] = "engineering",
    [PHILOSOPHY] = "philosophy",
    [MISCELLANY] = "other",
    [HISTORY] = "history",
    [GEOGRAPHY] = "geography",
    [POLITICS] = "politics",
    [PSYCHOLOGY] = "psychology",
    [CULTURE] = "culture",
    [LAW] = "law",
};

int pc_mmlu_category(int subcategory)
{
    static const int of[PC_MMLU_SUBCATEGORIES] = {
        [MATH] = STEM,
        [HEALTH] = OTHER,
        [PHYSICS] = STEM,
        [BUSINESS] = OTHER,
        [BIOLOGY] = STEM,
        [CHEMISTRY] = STEM,
        [COMPUTING] = STEM,
        [ECONOMICS] = SOCIAL,
        [ENGINEERING] = STEM,
        [PHILOSOPHY] = HUMANITIES,
        [MISCELLANY] = OTHER,
        [HISTORY] = HUMANITIES,
        [GEOGRAPHY] = SOCIAL,
        [POLITICS] = SOCIAL,
        [PSYCHOLOGY] = SOCIAL,
        [CULTURE] = SOCIAL,
        [LAW] = HUMANITIES,
    };
    return of[subcategory];
}

int pc_mmlu_subcategory(const char *subject)
{
    static const struct {
        const char *subject;
        int subcategory;
    } table[] = {
        {"abstract_algebra", MATH},
        {"anatomy", HEALTH},
        {"astronomy", PHYSICS},
        {"business_ethics", BUSINESS},
        {"clinical_knowledge", HEALTH},
        {"college_biology", BIOLOGY},
        {"college_chemistry", CHEMISTRY},
        {"college_computer_science", COMPUTING},
        {"college_mathematics", MATH},
        {"college_medicine", HEALTH},
        {"college_physics", PHYSICS},
        {"computer_security", COMPUTING},
        {"conceptual_physics", PHYSICS},
        {"econometrics", ECONOMICS},
        {"electrical_engineering", ENGINEERING},
        {"elementary_mathematics", MATH},
        {"formal_logic", PHILOSOPHY},
        {"global_facts", MISCELLANY},
        {"high_school_biology", BIOLOGY},
        {"high_school_chemistry", CHEMISTRY},
        {"high_school_computer_science", COMPUTING},
        {"high_school_european_history", HISTORY},
        {"high_school_geography", GEOGRAPHY},
        {"high_school_government_and_politics", POLITICS},
        {"high_school_macroeconomics", ECONOMICS},
        {"high_school_mathematics", MATH},
        {"high_school_microeconomics", ECONOMICS},
        {"high_school_physics", PHYSICS},
        {"high_school_psychology", PSYCHOLOGY},
        {"high_school_statistics", MATH},
        {"high_school_us_history", HISTORY},
        {"high_school_world_history", HISTORY},
        {"human_aging", HEALTH},
        {"human_sexuality", CULTURE},
        {"international_law", LAW},
        {"jurisprudence", LAW},
        {"logical_fallacies", PHILOSOPHY},
        {"machine_learning", COMPUTING},
        {"management", BUSINESS},
        {"marketing", BUSINESS},
        {"medical_genetics", HEALTH},
        {"miscellaneous", MISCELLANY},
        {"moral_disputes", PHILOSOPHY},
        {"moral_scenarios", PHILOSOPHY},
        {"nutrition", HEALTH},
        {"philosophy", PHILOSOPHY},
        {"prehistory", HISTORY},
        {"professional_accounting", MISCELLANY},
        {"professional_law", LAW},
        {"professional_medicine", HEALTH},
        {"professional_psychology", PSYCHOLOGY},
        {"public_relations", POLITICS},
        {"security_studies", POLITICS},
        {"sociology", CULTURE},
        {"us_foreign_policy", POLITICS},
        {"virology", HEALTH},
        {"world_religions", PHILOSOPHY},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].subject, subject) == 0)
            return table[i].subcategory;
    return -1;
}
