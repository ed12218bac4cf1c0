// SPDX-License-Identifier: Apache-2.0
/* Which subcategory each MMLU subject belongs to, and which category each subcategory.
 * Source: Hendrycks et al. 2021, as upstream's eval/mmlu/categories.py has it. */
#ifndef PC_EVAL_MMLU_CATEGORIES_H
#define PC_EVAL_MMLU_CATEGORIES_H

enum { PC_MMLU_SUBCATEGORIES = 17, PC_MMLU_CATEGORIES = 4 };

/** In the order metrics.json has them. */
extern const char *const pc_mmlu_subcategories[PC_MMLU_SUBCATEGORIES];
extern const char *const pc_mmlu_categories[PC_MMLU_CATEGORIES];

/** The subject's subcategory, an index, or -1 for a subject that is not MMLU's. */
int pc_mmlu_subcategory(const char *subject);
/** The category of a subcategory, an index. */
int pc_mmlu_category(int subcategory);

#endif
