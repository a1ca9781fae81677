// The words of the app; the language is the reader's choice, else the browser's.
const TEXTS = {
  en: {
    title: "Growth chart", height: "Height", weight: "Weight", bmi: "Body mass index",
    head: "Head circumference", date: "Date", age: "Age", value: "Value", centile: "Centile",
    months: (n) => (n === 1 ? "1 month" : `${n} months`), years: (n) => `${n} years`,
    axis: "Age in years", of: (who) => `Record of ${who}`, male: "male", female: "female",
    born: (date) => `born ${date}`, none: "No measurement of this kind is open to you here.",
    noLines: "No centiles: the reference ends at 20 years, that of the head at 3 years, and that of the body mass index begins at 2 years.",
    noSex: "No centiles: the record names neither female nor male.",
    noBirth: "No chart: the record has no whole birth date.",
    noCentile: "–", workedOut: "worked out from weight and height",
    source: "Lines: 3rd, 10th, 25th, 50th, 75th, 90th and 97th centile, CDC growth charts (United States, 2000). Not corrected for preterm birth. They say how a child compares with children of that reference, not whether the child is healthy.",
    drawing: (measure, count) => `${measure} by age, ${count} measurements. The table below has the same values.`,
    loading: "Reading the record …", ended: "Your permission has ended. Start the app again.",
    access_denied: "You did not allow it, so nothing is shown.",
    unreadable: "The record cannot be read now. Start the app again in a moment.",
    notStarted: "The app could not be started from here. Start it from the record.",
    again: "Start again",
  },
  "zh-Hant": {
    title: "生長曲線圖", height: "身高", weight: "體重", bmi: "體重指標（BMI）", head: "頭圍",
    date: "日期", age: "年齡", value: "數值", centile: "百分位",
    months: (n) => `${n} 個月`, years: (n) => `${n} 歲`,
    axis: "年齡（歲）", of: (who) => `${who} 的紀錄`, male: "男", female: "女",
    born: (date) => `${date} 出生`, none: "沒有向你開放的此類量度。",
    noLines: "不顯示百分位：參考資料至 20 歲為止，頭圍至 3 歲為止，體重指標由 2 歲起。",
    noSex: "不顯示百分位：紀錄沒有註明男性或女性。", noBirth: "不顯示圖表：紀錄沒有完整的出生日期。",
    noCentile: "–", workedOut: "由體重及身高計算",
    source: "曲線：第 3、10、25、50、75、90 及 97 百分位，美國疾病控制與預防中心（CDC）生長曲線（美國，2000 年）。未就早產作調整。曲線只說明與該參考群體兒童的比較，並不表示孩子是否健康。",
    drawing: (measure, count) => `${measure}與年齡，共 ${count} 次量度。下表載有相同數值。`,
    loading: "正在讀取紀錄……", ended: "你的許可已結束。請重新開啟應用程式。",
    access_denied: "你沒有允許，因此不顯示任何內容。",
    unreadable: "現時無法讀取紀錄，請稍後重新開啟應用程式。",
    notStarted: "無法從這裡開啟應用程式，請從紀錄開啟。", again: "重新開啟",
  },
  "zh-Hans": {
    title: "生长曲线图", height: "身高", weight: "体重", bmi: "体重指数（BMI）", head: "头围",
    date: "日期", age: "年龄", value: "数值", centile: "百分位",
    months: (n) => `${n} 个月`, years: (n) => `${n} 岁`,
    axis: "年龄（岁）", of: (who) => `${who} 的记录`, male: "男", female: "女",
    born: (date) => `${date} 出生`, none: "没有向你开放的此类测量。",
    noLines: "不显示百分位：参考数据至 20 岁为止，头围至 3 岁为止，体重指数从 2 岁起。",
    noSex: "不显示百分位：记录没有注明男性或女性。", noBirth: "不显示图表：记录没有完整的出生日期。",
    noCentile: "–", workedOut: "由体重和身高计算",
    source: "曲线：第 3、10、25、50、75、90 和 97 百分位，美国疾病控制与预防中心（CDC）生长曲线（美国，2000 年）。未对早产作调整。曲线只说明与该参考人群儿童的比较，并不表示孩子是否健康。",
    drawing: (measure, count) => `${measure}与年龄，共 ${count} 次测量。下表载有相同数值。`,
    loading: "正在读取记录……", ended: "你的许可已结束。请重新打开应用程序。",
    access_denied: "你没有允许，因此不显示任何内容。",
    unreadable: "现在无法读取记录，请稍后重新打开应用程序。",
    notStarted: "无法从这里打开应用程序，请从记录打开。", again: "重新打开",
  },
};
export const LANGUAGES = { en: "English", "zh-Hant": "繁體", "zh-Hans": "简体" };
const KEY = "growth-chart-language";

export function language() {
  const chosen = sessionStorage.getItem(KEY);
  if (chosen in TEXTS) return chosen;
  const tag = navigator.languages.find((one) => /^(en|zh)/i.test(one)) ?? "en";
  if (!/^zh/i.test(tag)) return "en";
  return /hant|hk|tw|mo/i.test(tag) ? "zh-Hant" : "zh-Hans";
}

export function chooseLanguage(tag) {
  sessionStorage.setItem(KEY, tag);
}

export function texts() {
  return TEXTS[language()];
}
